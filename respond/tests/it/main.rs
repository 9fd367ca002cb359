//! The response stage as the shell sees it: inputs in, transitions out.

mod crash;
mod guard;
mod life;
mod notify;
mod playbooks;
mod property;
mod world;
