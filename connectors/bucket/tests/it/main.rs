//! The reader of buckets over a bucket in memory, whose clock the test turns.

mod cases;
mod order;
mod world;
