//! What the worker and its descendants use: measured by the observer, read by exporters.

use std::{
    iter::Sum,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Processor time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// User and system time together.
    pub fn total(self) -> Duration {
        self.user.saturating_add(self.system)
    }

    /// The sum, each mode by itself, as in the following functions.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, Duration::saturating_add)
    }

    /// The difference, but not less than zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.each(other, Duration::saturating_sub)
    }

    /// The lesser.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.each(other, Ord::min)
    }

    /// The greater.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.each(other, Ord::max)
    }

    fn each(self, other: Self, of: impl Fn(Duration, Duration) -> Duration) -> Self {
        Self { user: of(self.user, other.user), system: of(self.system, other.system) }
    }
}

impl Sum for CpuTime {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), Self::plus)
    }
}

/// What the worker and its descendants use at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Resident memory in bytes. Pages that processes share count once for each of them.
    pub rss_bytes: u64,
    /// Virtual memory in bytes.
    pub vms_bytes: u64,
    /// Resident memory in bytes, with pages that processes share divided between them. It is read less often
    /// than the rest; none if it was not readable for all processes.
    pub pss_bytes: Option<u64>,
    /// Whether `pss_bytes` was read for this sample, and not kept from an earlier one.
    pub is_pss_new: bool,
    /// Memory in swap in bytes.
    pub swap_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors, of the processes where they can be read.
    pub fds: u64,
    /// Processes, without zombies.
    pub processes: u64,
}

/// A sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Processor time since the worker's start. It includes ended descendants and never falls.
    pub cpu: CpuTime,
    /// None once the worker has ended.
    pub usage: Option<Resources>,
}

/// What has been sampled up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The latest sample.
    pub latest: Sample,
    /// The largest resident memory of all samples, in bytes; none if no sample had it.
    pub peak_rss_bytes: Option<u64>,
}

/// The samples of a worker.
#[derive(Debug)]
pub struct Vitals {
    since: SystemTime,
    seen: Mutex<Option<Seen>>,
}

impl Vitals {
    /// Without a sample, for a worker that starts now.
    pub(super) fn new() -> Self {
        Self { since: SystemTime::now(), seen: Mutex::default() }
    }

    /// When processor time was zero.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// The latest sample; none before the first.
    pub fn latest(&self) -> Option<Sample> {
        self.seen().map(|seen| seen.latest)
    }

    /// The latest sample and the peak; none before the first sample.
    pub fn seen(&self) -> Option<Seen> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the latest sample.
    pub fn set(&self, sample: Sample) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let rss_bytes = sample.usage.map(|usage| usage.rss_bytes);
        let peak_rss_bytes = seen.and_then(|seen| seen.peak_rss_bytes).max(rss_bytes);
        *seen = Some(Seen { latest: sample, peak_rss_bytes });
    }
}
