//! The vault over loopback: a real server, real clients, real files.

mod access;
mod crash;
mod custody;
mod events;
mod guide;
mod hostile;
mod response;
mod server;
