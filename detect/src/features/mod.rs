//! Features: an event beside its principal's past, as sixteen numbers.
