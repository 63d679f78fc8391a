//! Whether memory ran out while a worker ran.
//!
//! The kernel counts the processes that it kills for that: for each control group, and for the whole host in
//! `/proc/vmstat`. A process cannot be asked why it was killed, so the counters are compared.

use super::{
    End, Exit, Usage,
    end::Reason,
    exit::DEATH_BY_SIGNAL,
    memory_group::{MemoryGroup, counter, read},
};
use nix::{libc::SIGKILL, unistd::Pid};
use std::path::{Path, PathBuf};

/// How a shell exits whose command was killed.
const KILLED_BELOW_SHELL: i32 = DEATH_BY_SIGNAL + SIGKILL;

/// The counters before the start of a worker.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    root: PathBuf,
    /// The sidecar's control group and its counter. The worker starts in it.
    group: Option<(MemoryGroup, Option<u64>)>,
    /// The counter of the host.
    of_host: Option<u64>,
    /// The group in which the worker ended, if that could be seen.
    last_group: Option<MemoryGroup>,
}

impl MemoryWatch {
    /// Reads the counters. `root` is where the root of the file system is.
    pub(crate) fn start(root: &Path) -> Self {
        let group = MemoryGroup::of("self", root).map(|group| {
            let kills = group.oom_kills();
            (group, kills)
        });
        Self { root: root.into(), group, of_host: host_kills(root), last_group: None }
    }

    /// Looks in which group a worker has ended that has not been reaped: it may have been moved.
    pub(crate) fn look(&mut self, worker: Pid) {
        self.last_group =
            MemoryGroup::of(&worker.to_string(), &self.root).filter(MemoryGroup::stays_after_exit);
    }

    /// How the worker has ended, with what the counters say now.
    pub(crate) fn end(&self, exit: Exit, usage: Usage) -> End {
        let end = End::new(exit, usage);
        let kills = self.kills();
        let was_killed = matches!(exit, Exit::Signal(SIGKILL) | Exit::Code(KILLED_BELOW_SHELL));
        let reason = match kills {
            Some(1..) if was_killed => Reason::OutOfMemory,
            None if was_killed && self.may_have_run_out(usage) => Reason::MaybeOutOfMemory,
            _ => end.reason,
        };
        End { reason, oom_kills: kills.unwrap_or(0), ..end }
    }

    /// The kills in the worker's group since the start, if that is known.
    fn kills(&self) -> Option<u64> {
        let on_host = self.on_host();
        match (&self.group, &self.last_group) {
            (Some((group, Some(before))), last) if last.as_ref().is_none_or(|last| last == group) => {
                let kills = group.oom_kills()?.saturating_sub(*before);
                // Version 1 does not show whether the worker was moved to another group and killed there.
                let is_certain = kills > 0 || last.is_some() || on_host == Some(0);
                is_certain.then_some(kills)
            }
            // What was counted in the other group before the start is not known.
            (_, Some(last)) => last.oom_kills().and_then(|count| match on_host {
                Some(on_host) => Some(count.min(on_host)),
                None => (count == 0).then_some(0),
            }),
            (_, None) => None,
        }
    }

    /// The kills on the host since the start.
    fn on_host(&self) -> Option<u64> {
        Some(host_kills(&self.root)?.saturating_sub(self.of_host?))
    }

    /// Whether memory ran out somewhere on the host, or the worker had nearly as much as it may have.
    fn may_have_run_out(&self, usage: Usage) -> bool {
        let group = self.last_group.as_ref().or(self.group.as_ref().map(|(group, _)| group));
        let limit = group.and_then(MemoryGroup::limit);
        let is_near = limit.is_some_and(|limit| usage.max_rss_bytes >= limit - limit / 10);
        is_near || self.on_host().is_some_and(|count| count > 0)
    }
}

fn host_kills(root: &Path) -> Option<u64> {
    counter(&read(&root.join("proc/vmstat"))?, "oom_kill")
}

#[cfg(test)]
mod tests;
