//! Peers: groups of principals that behave alike, and how strange an operation is among them.
