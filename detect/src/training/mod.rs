//! Training: what a model may learn from, when it is trained again, and how a new one takes over.
