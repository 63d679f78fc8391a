//! Threads and runtimes. Their stacks have a size of their own: `RUST_MIN_STACK` in the environment is meant
//! for the worker.

use nix::{libc, unistd::gettid};
use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// What Rust gives a thread by default.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// How many events a runtime takes from the system at a time. By default it has room for four times as many,
/// which every sidecar would keep.
const EVENTS_AT_ONCE: usize = 256;

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
    builder.thread_stack_size(STACK_BYTES).max_io_events_per_tick(EVENTS_AT_ONCE);
    builder
}

/// Lowers the priority of this thread: exporters have queues, and observers have time, so the worker and the
/// threads that read and serve it come first when processors are busy.
pub(crate) fn lower_priority() {
    /// Added to the nice value, which ends at 19: the thread still gets a tenth of a busy processor.
    const NICER: libc::c_int = 10;
    let this_thread = gettid().as_raw().unsigned_abs();
    // SAFETY: numbers in, a number out. Linux keeps the value for each thread (setpriority(2), "C
    // library/kernel differences"), so that neither the worker nor another thread is changed.
    unsafe {
        let nice = libc::getpriority(libc::PRIO_PROCESS, this_thread);
        // If this is refused the priority stays as it is.
        libc::setpriority(libc::PRIO_PROCESS, this_thread, nice + NICER);
    }
}
