//! Correlate: the tenant's view, made from what the principals' partitions hand in.
