//! The vault's service: sealed files of users whose custody follows their risk.
