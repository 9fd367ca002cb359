//! The shell's contracts, over every implementation.

mod log;
mod pump;
