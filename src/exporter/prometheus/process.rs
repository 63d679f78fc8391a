//! Resource usage of the sidecar's own process.

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use std::fs;

/// Processor time used so far, user and system, in seconds.
#[allow(clippy::cast_precision_loss, reason = "microseconds are far below 2^53")]
pub fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

/// Resident memory in bytes, from `/proc/self/status`, which has it in KiB.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Open descriptors, excluding the one that reads the directory.
pub fn open_descriptors() -> Option<u64> {
    let descriptors = fs::read_dir("/proc/self/fd").ok()?;
    Some((descriptors.count() as u64).saturating_sub(1))
}
