//! What threads wait at for one another, under a name of this crate's own, so that `tests/hub_model.rs` can compile what
//! uses it with loom's instead.

pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use tokio::sync::Notify;
