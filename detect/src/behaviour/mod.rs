//! Behaviour: what is remembered of a principal in at most 320 bytes, and the table that holds a million of them.
