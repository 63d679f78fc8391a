//! The names of the events that are made of what is observed.

pub use crate::event::ended::EXITED;

/// The worker's start. It precedes the worker's own events.
pub const STARTED: &str = "worker.started";

/// A sample of the memory that the worker uses.
pub const MEMORY_SAMPLED: &str = "worker.memory.sampled";

/// A sample of the processor time that the worker uses.
pub const CPU_SAMPLED: &str = "worker.cpu.sampled";

/// A sample of the worker's processes, threads and descriptors.
pub const PROCESS_SAMPLED: &str = "worker.process.sampled";

/// Whether events of this name are about the worker, seen from outside. The names of Snakepit's catalog are
/// also those of events that workers print: they are not among these.
pub fn is_observed(name: &str) -> bool {
    [STARTED, EXITED, MEMORY_SAMPLED, CPU_SAMPLED, PROCESS_SAMPLED].contains(&name)
}
