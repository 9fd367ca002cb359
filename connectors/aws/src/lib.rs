//! Amazon Web Services: where its records are read, and what may be done there.
