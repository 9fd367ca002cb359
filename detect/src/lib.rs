//! EVENT -> FINDING: pure stages that compare each event with its principal's past, its peers and its tenant.
//!
//! [`Detect`] is the stage. A [`Detector`] holds its thresholds and nothing else: what is remembered of a principal
//! lives in [`Past`] (facts shared by all detectors) and in one [`Window`] per detector, both bounded. An event is
//! scored before it is learnt, so that it cannot excuse itself; the only clock is the event's own time.

pub mod attack;
pub mod behaviour;
pub mod calibration;
pub mod clock;
mod config;
pub mod correlate;
pub mod detector;
pub mod detectors;
pub mod engine;
pub mod entropy;
pub mod evidence;
pub mod explain;
pub mod features;
pub mod forest;
pub mod known;
pub mod log2;
pub mod network;
pub mod notice;
pub mod offline;
pub mod past;
pub mod peers;
pub mod principals;
pub mod rhythm;
mod series;
pub mod sighting;
mod snapshot;
pub mod stage;
pub mod training;
pub mod window;

pub use config::Config;
pub use detector::Detector;
pub use detectors::{Detectors, catalog};
pub use evidence::{Draft, Evidence};
pub use offline::{judge, run};
pub use past::Past;
pub use sighting::Sighting;
pub use stage::{Detect, Verdict};
pub use window::{Mark, Window};
