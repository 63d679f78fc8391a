//! What the operating system gives, for every room: descriptors, files, the log's line queue, locks, time,
//! backoff, and options.

pub(crate) mod backoff;
pub(crate) mod clock;
#[cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]
mod compare;
#[cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]
mod copy;
pub(crate) mod data;
pub mod fd;
pub mod file_error;
#[cfg(any(target_env = "musl", test))]
mod heap;
pub mod last_bytes;
pub mod log;
pub(crate) mod memory;
pub mod open;
pub mod option;
pub mod own_file;
pub(crate) mod proc;
pub(crate) mod rate_limit;
pub(crate) mod subcommand;
pub(crate) mod sync;
pub mod template;
pub(crate) mod thread;
pub mod value;
pub mod visible;
