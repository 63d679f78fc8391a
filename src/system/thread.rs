//! Threads and runtimes. Their stacks have a size of their own: `RUST_MIN_STACK` in the environment is meant
//! for the worker.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// What Rust gives a thread by default.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Starts a thread.
///
/// # Errors
///
/// If the system refuses it.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(run)
}

/// A runtime for the calling thread. Its blocking calls, such as the resolution of names, have threads of
/// their own.
pub(crate) fn runtime() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.thread_stack_size(STACK_BYTES);
    builder
}
