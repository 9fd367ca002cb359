//! Google Cloud: where its records are read, and what may be done there.
