//! Whether memory ran out while a worker ran.
//!
//! The kernel counts the processes that it kills for that: for each control group, and for the whole host in
//! `/proc/vmstat`. A process cannot be asked why it was killed, so the counters are compared: of the worker's
//! end with those of a short time before. Other processes of its group may have been killed earlier, and the
//! worker by its parent hours later.

use super::{
    End, Exit, Usage,
    end::Reason,
    memory_group::{MemoryGroup, counter, read},
};
use crate::{event::ended::DEATH_BY_SIGNAL, system::proc::is_own_proc};
use nix::{libc::SIGKILL, unistd::Pid};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How a shell exits whose command was killed.
const KILLED_BELOW_SHELL: i32 = DEATH_BY_SIGNAL + SIGKILL;

/// How often to read the counters while the worker runs. The kernel counts a kill when it decides on it; to
/// free the memory of a large process may take half a minute.
pub(crate) const INTERVAL: Duration = Duration::from_secs(30);

/// The counters before the end of a worker.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    root: PathBuf,
    /// Whether `/proc` has the worker's process id.
    shows_worker: bool,
    /// Before the start.
    start: Counts,
    /// At the last two looks at the running worker, the earlier one first.
    recent: [Option<Counts>; 2],
    /// The group in which the worker ended, if that could be seen.
    last_group: Option<MemoryGroup>,
}

/// The counters at one moment.
#[derive(Debug)]
struct Counts {
    /// A process's control group and its counter.
    group: Option<(MemoryGroup, Option<u64>)>,
    /// The counter of the host.
    of_host: Option<u64>,
}

impl Counts {
    fn of(process: &str, root: &Path) -> Self {
        let group = MemoryGroup::of(process, root).map(|group| {
            let kills = group.oom_kills();
            (group, kills)
        });
        Self { group, of_host: host_kills(root) }
    }
}

impl MemoryWatch {
    /// Reads the counters. `root` is where the root of the file system is.
    pub(crate) fn start(root: &Path) -> Self {
        // The worker starts in the sidecar's group.
        let (start, shows_worker) = (Counts::of("self", root), is_own_proc(root));
        Self { root: root.into(), shows_worker, start, recent: [None, None], last_group: None }
    }

    /// Reads the counters while the worker runs, once every [`INTERVAL`].
    pub(crate) fn refresh(&mut self, worker: Pid) {
        if !self.shows_worker {
            return;
        }
        let now = Counts::of(&worker.to_string(), &self.root);
        if now.group.is_some() {
            let [_, last] = &mut self.recent;
            self.recent = [last.take(), Some(now)];
        }
    }

    /// Looks in which group a worker has ended that has not been reaped: it may have been moved.
    pub(crate) fn look(&mut self, worker: Pid) {
        if self.shows_worker {
            let group = MemoryGroup::of(&worker.to_string(), &self.root);
            self.last_group = group.filter(MemoryGroup::stays_after_exit);
        }
    }

    /// How the worker has ended, with what the counters say now.
    pub(crate) fn end(&self, exit: Exit, usage: Usage) -> End {
        let end = End::new(exit, usage);
        let [earlier, _] = &self.recent;
        let before = earlier.as_ref().unwrap_or(&self.start);
        let kills = self.kills(before);
        let was_killed = matches!(exit, Exit::Signal(SIGKILL) | Exit::Code(KILLED_BELOW_SHELL));
        let reason = match kills {
            Some(1..) if was_killed => Reason::OutOfMemory,
            None if was_killed && self.may_have_run_out(before, usage) => Reason::MaybeOutOfMemory,
            _ => end.reason,
        };
        End { reason, oom_kills: kills.max(self.kills(&self.start)), ..end }
    }

    /// The kills in the worker's group since then, if that is known.
    fn kills(&self, before: &Counts) -> Option<u64> {
        let on_host = self.on_host(before);
        match (&before.group, &self.last_group) {
            (Some((group, Some(count))), last) if last.as_ref().is_none_or(|last| last == group) => {
                let kills = group.oom_kills()?.saturating_sub(*count);
                // Version 1 does not show whether the worker was moved to another group and killed there.
                let is_certain = kills > 0 || last.is_some() || on_host == Some(0);
                is_certain.then_some(kills)
            }
            // What was counted in the other group before is not known.
            (_, Some(last)) => last.oom_kills().and_then(|count| match on_host {
                Some(on_host) => Some(count.min(on_host)),
                None => (count == 0).then_some(0),
            }),
            (_, None) => None,
        }
    }

    /// The kills on the host since then.
    fn on_host(&self, before: &Counts) -> Option<u64> {
        Some(host_kills(&self.root)?.saturating_sub(before.of_host?))
    }

    /// Whether memory ran out somewhere on the host, or the worker had nearly as much as it may have.
    fn may_have_run_out(&self, before: &Counts, usage: Usage) -> bool {
        let group = self.last_group.as_ref().or(before.group.as_ref().map(|(group, _)| group));
        let limit = group.and_then(MemoryGroup::limit);
        let is_near = limit.is_some_and(|limit| usage.max_rss_bytes >= limit - limit / 10);
        is_near || self.on_host(before).is_some_and(|count| count > 0)
    }
}

fn host_kills(root: &Path) -> Option<u64> {
    counter(&read(&root.join("proc/vmstat"))?, "oom_kill")
}

#[cfg(test)]
mod tests;
