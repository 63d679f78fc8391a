//! The sidecars that run on this host, and connections to them.

pub mod args;
pub mod client;
pub mod discover;
pub mod probe;
pub mod tail;
