//! Takes samples: which processes there are, and what they use.

use super::{
    pace::{Pace, thread_time},
    source::Source,
    stat::Pid,
    tree::{Search, Surroundings, Tree},
};
use crate::worker::vitals::{CpuTime, Resources, Sample};
use std::time::{Duration, Instant};

/// The least time between two reads of proportional memory, for which the system goes through all pages.
const PSS_INTERVAL: Duration = Duration::from_secs(10);

/// Takes samples of a worker and its descendants.
#[derive(Debug)]
pub(super) struct Sampler<S> {
    source: S,
    tree: Tree,
    threads: Pace,
    system: Pace,
    pss: Pace,
    pss_bytes: Option<u64>,
    has_sampled: bool,
}

impl<S: Source> Sampler<S> {
    /// A sampler of this worker.
    pub(super) fn new(source: S, worker: Pid, around: Surroundings) -> Self {
        Self {
            source,
            tree: Tree::new(worker, around),
            threads: Pace::new(Duration::ZERO),
            system: Pace::new(Duration::ZERO),
            pss: Pace::new(PSS_INTERVAL),
            pss_bytes: None,
            has_sampled: false,
        }
    }

    /// A sample at this time, without the worker's resources if it has ended. None if something could not be
    /// read.
    pub(super) fn sample(&mut self, now: Instant) -> Option<Sample> {
        let search = Search { threads: self.threads.is_due(now), system: self.system.is_due(now) };
        let start = thread_time();
        let is_whole = self.tree.update(&mut self.source, search);
        let cost = thread_time().saturating_sub(start);
        if search.system {
            self.system.done(now, cost);
        }
        if search.threads {
            self.threads.done(now, cost);
        }
        let usage = if is_whole && self.tree.has_worker() { self.resources(now) } else { None };
        (is_whole && !self.source.take_failure()).then(|| Sample { cpu: self.tree.cpu(), usage })
    }

    /// The last sample, after the worker's end. `cpu` is the time of the worker and of the children that it
    /// has waited for, if that is known.
    pub(super) fn last(&mut self, cpu: Option<CpuTime>) -> Sample {
        self.tree.end(&mut self.source, cpu);
        Sample { cpu: self.tree.cpu(), usage: None }
    }

    /// None if the worker has ended in the meantime.
    fn resources(&mut self, now: Instant) -> Option<Resources> {
        let mut sum = Resources::default();
        let living = || self.tree.processes().iter().filter(|process| !process.stat.is_zombie);
        for process in living() {
            let Some(memory) = self.source.memory(process.key.pid) else {
                // It has ended since it was looked at.
                if self.tree.is_worker(process) {
                    return None;
                }
                continue;
            };
            sum.rss_bytes += memory.rss_bytes;
            sum.swap_bytes += memory.swap_bytes;
            sum.vms_bytes += process.stat.vms_bytes;
            sum.threads += process.stat.threads;
            sum.fds += self.source.fds(process.key.pid);
            sum.processes += 1;
        }
        // A worker that has just been started says little about the next ten seconds.
        if self.has_sampled && self.pss.is_due(now) {
            let start = thread_time();
            self.pss_bytes = living().map(|process| pss_bytes(&mut self.source, process.key.pid)).sum();
            self.pss.done(now, thread_time().saturating_sub(start));
            sum.is_pss_new = true;
        }
        self.has_sampled = true;
        sum.pss_bytes = self.pss_bytes;
        Some(sum)
    }
}

/// The proportional memory of a process; zero if it has ended in the meantime.
fn pss_bytes(source: &mut impl Source, pid: Pid) -> Option<u64> {
    let has_ended = |source: &mut _| Source::stat(source, pid).is_none_or(|stat| stat.is_zombie);
    source.pss_bytes(pid).or_else(|| has_ended(source).then_some(0))
}
