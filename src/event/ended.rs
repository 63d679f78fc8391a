//! The event about a worker's end, and which ends are failures.

use nix::libc::SIGTERM;

/// The event of a worker's end. Its measurement [`EXIT_CODE`] or [`SIGNAL`] says how it ended.
pub const EXITED: &str = "worker.exited";

/// The measurement of a worker that exited.
pub const EXIT_CODE: &str = "exit_code";

/// The measurement of a worker that a signal killed.
pub const SIGNAL: &str = "signal";

/// A shell adds this to the number of the signal that killed its command.
pub const DEATH_BY_SIGNAL: i32 = 128;

/// Whether a worker that exited with this code has failed. Supervisors stop workers with SIGTERM, so 143, the
/// code of a shell whose command was stopped, is not a failure.
pub fn is_failed_code(code: i64) -> bool {
    code != 0 && code != i64::from(DEATH_BY_SIGNAL + SIGTERM)
}

/// Whether a worker that this signal killed has failed: unless it is SIGTERM.
pub fn is_failed_signal(signal: i64) -> bool {
    signal != i64::from(SIGTERM)
}
