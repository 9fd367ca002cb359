//! Azure's logs, read by the real SDK from Azurite, which `cargo xtask services up` starts.

mod bench;
mod blobs;
mod credentials;

// What every connector must do.
prunella_contract::contract!(bench::bench);
