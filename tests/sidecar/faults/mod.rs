//! What workers, clients and machines may do to a sidecar. Beside each fault stands what the worker sees, what clients see
//! and what is counted; all of them end in balanced books.
//!
//! Some are larger or longer with `FAULTS_LONG=1` in the environment.

mod client;
mod machine;
mod worker;

/// Whether there is time for the whole of it.
fn long() -> bool {
    std::env::var_os("FAULTS_LONG").is_some()
}
