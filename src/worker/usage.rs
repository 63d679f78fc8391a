//! What a process has used of the machine.

use nix::libc;
use std::time::Duration;

/// The use of a process that has ended and of those of its children that it waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident memory of one of these processes, in bytes. It is at least what the sidecar had
    /// when it started the worker: the kernel counts the process before it executes the worker, too.
    pub max_rss_bytes: u64,
}

impl Usage {
    /// Processor time in both modes.
    pub fn cpu(&self) -> Duration {
        self.user.saturating_add(self.system)
    }
}

impl From<libc::rusage> for Usage {
    fn from(usage: libc::rusage) -> Self {
        let kibibytes = u64::try_from(usage.ru_maxrss).unwrap_or(0);
        Self {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
            max_rss_bytes: kibibytes.saturating_mul(1024),
        }
    }
}

/// The kernel's times are not negative.
fn duration(time: libc::timeval) -> Duration {
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    seconds.saturating_add(Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0)))
}
