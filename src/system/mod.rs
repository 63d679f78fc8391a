//! What the operating system gives, for every room: descriptors, the log's line queue, and locks.

pub mod fd;
pub mod log;
pub(crate) mod sync;
