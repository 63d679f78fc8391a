//! The locks and wake-ups of the hub, under names of this crate: `tests/hub_model.rs` compiles the hub with
//! loom's types in their place.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use tokio::sync::Notify;
