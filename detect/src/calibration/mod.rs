//! Calibration: from a raw score to the probability that an ordinary event is at least this unusual.
