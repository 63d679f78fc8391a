//! Failures of workers, clients and machines. Each test documents what the worker sees, what clients see and
//! what is counted. In all of them the counters add up at the end.
//!
//! Some tests are larger or longer with `FAULTS_LONG=1` in the environment.

mod client;
mod machine;
mod worker;

/// Whether to run the longer variants.
fn long() -> bool {
    std::env::var_os("FAULTS_LONG").is_some()
}
