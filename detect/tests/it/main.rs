//! Tests of the stage as a whole: stories in, findings out.

mod detectors;
mod golden;
mod properties;
mod story;
