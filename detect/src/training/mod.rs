//! Training: what a model may learn from, when it is trained again, and how a new one takes over.
//!
//! A [`Learner`] is told of every event of one kind of actor after it was scored. It keeps two samples of the past, a
//! [`Reservoir`] to train on and one to calibrate on, watches for [`Drift`], and trains a new [`Model`] between two
//! events: the event that was observed still met the old model, the next one meets the new. Everything follows from
//! the events and the seed, so that a replay trains the same models at the same events.

mod canary;
mod drift;
mod judge;
mod learner;
mod model;
mod outliers;
mod reservoir;
mod shares;

pub use canary::Refusal;
pub use drift::{Drift, Shift, WINDOW_MAX, WINDOW_MIN};
pub use learner::{Learner, Lesson, Outcome, RETRAIN_EVENTS_MIN, Trained, VERSION, Why};
pub use model::{Model, TRAINING_ROWS_MIN, TrainedOn, Usual};
pub use reservoir::{ROWS_MAX, Reservoir, Row, SOURCE_SHARE};

/// Features of a row.
pub const FEATURES: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "cannot train on {rows} row(s), with {held_out} more to calibrate on; give at least {TRAINING_ROWS_MIN} of each"
    )]
    Rows { rows: usize, held_out: usize },
    #[error(
        "the model is of version {model}, and this program reads version {VERSION}; the one in use stays"
    )]
    Version { model: u32 },
    #[error("the model was trained on another list of features; the one in use stays")]
    Features,
    #[error("the model is broken at {0}; the one in use stays")]
    Broken(String),
    #[error(transparent)]
    Forest(#[from] crate::forest::Error),
}
