//! Which processes belong to the worker.
//!
//! The worker, its children, and so on. A process stays one of them when its parent ends and another process
//! adopts it, as long as it is still in the session or in the control groups that it had. Other orphans are
//! found by what only descendants of the worker can have: its stderr, a session, or the sidecar as parent.
//!
//! A process is identified by its id and its start, so that an id that is used again is another process.

use super::{
    account::{Account, Entry, Key},
    source::{FileId, Source},
    stat::{Pid, Stat},
};
use crate::worker::vitals::CpuTime;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
};

/// More processes are not counted: reading them takes too long.
const MAX_PROCESSES: usize = 4096;

/// How many processes that have left the worker's tree are remembered.
const MAX_LEFT: usize = 256;

/// The processes around the worker, which do not belong to it.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The sidecar. Its other children are orphans that it has adopted, as PID 1 does.
    pub(super) sidecar: Pid,
    /// The sidecar's other process.
    pub(super) helper: Option<Pid>,
    /// The sidecar's session, unless the sidecar leads it: then only the worker's descendants and the
    /// processes above are in it.
    pub(super) session: Option<Pid>,
    /// What the worker's stderr is. Descendants inherit it.
    pub(super) stderr: Option<FileId>,
}

/// How thoroughly to look for new processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Search {
    /// Whether to look for children of all threads, not only of the first one of each process.
    pub(super) threads: bool,
    /// Whether to look through all processes of the system.
    pub(super) system: bool,
}

/// A process that belongs to the worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub(super) key: Key,
    pub(super) stat: Stat,
    /// The fingerprint of its control groups when it was found.
    cgroup: Option<u64>,
}

/// Processes in the order in which they were looked at.
#[derive(Debug, Default)]
struct Processes {
    list: Vec<Process>,
    by_pid: HashMap<Pid, usize>,
}

impl Processes {
    fn get(&self, pid: Pid) -> Option<&Process> {
        self.list.get(*self.by_pid.get(&pid)?)
    }

    fn clear(&mut self) {
        self.list.clear();
        self.by_pid.clear();
    }
}

/// The worker and its descendants.
#[derive(Debug)]
pub(super) struct Tree {
    worker: Pid,
    /// When the worker started, once it was looked at: its id may be used again after its end.
    worker_start: Option<u64>,
    around: Surroundings,
    now: Processes,
    before: Processes,
    /// How many more processes may be added.
    room: usize,
    /// Processes that have left the tree, the latest last: they are not added again.
    left: VecDeque<Key>,
    account: Account,
    /// Pairs of parent and child in order, if the system does not list children.
    children: Vec<(Pid, Pid)>,
    /// A buffer.
    found: Vec<Pid>,
}

impl Tree {
    /// A tree that has not been looked at.
    pub(super) fn new(worker: Pid, around: Surroundings) -> Self {
        let (now, before, room, left, account, children, found) = Default::default();
        Self { worker, worker_start: None, around, now, before, room, left, account, children, found }
    }

    /// The processes that were there at the last update.
    pub(super) fn processes(&self) -> &[Process] {
        &self.now.list
    }

    /// Whether the worker was there at the last update, and had not ended.
    pub(super) fn has_worker(&self) -> bool {
        self.now.get(self.worker).is_some_and(|worker| !worker.stat.is_zombie)
    }

    /// Whether this process is the worker.
    pub(super) fn is_worker(&self, process: &Process) -> bool {
        process.key.pid == self.worker
    }

    /// Processor time so far, that of ended processes included. It never falls.
    pub(super) fn cpu(&self) -> CpuTime {
        self.account.total()
    }

    /// Looks at all processes again. Returns false, and changes nothing, if not all of them could be read.
    pub(super) fn update(&mut self, source: &mut impl Source, search: Search) -> bool {
        self.look(source, search);
        if source.take_failure() {
            // The missing ones have not ended: later they would seem to be new, and count twice.
            mem::swap(&mut self.now, &mut self.before);
            return false;
        }
        self.account.update(entries(&self.now));
        true
    }

    /// The last update, after the worker's end. `cpu` is what it and the children that it has waited for had
    /// used, if that is known.
    pub(super) fn end(&mut self, source: &mut impl Source, cpu: Option<CpuTime>) {
        self.look(source, Search { threads: true, system: false });
        let worker = cpu.filter(|_| !self.has_worker()).map(|cpu| {
            let last = self.before.get(self.worker).copied();
            let key = last.map_or(Key { pid: self.worker, start: 0 }, |last| last.key);
            // How much of it is its children's is not known.
            let own = last.map_or_else(CpuTime::default, |last| last.stat.own);
            Entry { key, parent: None, own, waited: cpu.minus(own) }
        });
        self.account.update(worker.into_iter().chain(entries(&self.now)));
    }

    fn look(&mut self, source: &mut impl Source, search: Search) {
        mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        self.children.clear();
        self.room = MAX_PROCESSES.saturating_sub(self.before.list.len());
        if search.system && !source.lists_children() {
            self.list_children(source);
        }
        self.add(source, self.worker);
        self.descend(source, search, 0);
        // Orphans, and children of other threads than the first. Parents are before their children.
        for at in 0..self.before.list.len() {
            let Some(process) = self.before.list.get(at) else { break };
            let (pid, start) = (process.key.pid, self.now.list.len());
            self.add(source, pid);
            self.descend(source, search, start);
        }
        if search.system {
            self.search_orphans(source, search);
        }
    }

    /// Adds the descendants of the processes from this index on. Each is looked at after its parent, as the
    /// account needs it.
    fn descend(&mut self, source: &mut impl Source, search: Search, mut next: usize) {
        let mut found = mem::take(&mut self.found);
        while let Some(process) = self.now.list.get(next) {
            next += 1;
            found.clear();
            let pid = process.key.pid;
            if source.lists_children() {
                source.children(pid, search.threads && process.stat.threads > 1, &mut found);
            } else {
                let start = self.children.partition_point(|(parent, _)| *parent < pid);
                let rest = self.children.get(start..).unwrap_or_default();
                found.extend(rest.iter().take_while(|(parent, _)| *parent == pid).map(|(_, child)| child));
            }
            for child in &found {
                self.add(source, *child);
            }
        }
        self.found = found;
    }

    /// Looks at a process and adds it if it belongs to the worker.
    fn add(&mut self, source: &mut impl Source, pid: Pid) {
        if self.now.by_pid.contains_key(&pid) {
            return;
        }
        let Some(stat) = source.stat(pid) else { return };
        let key = Key { pid, start: stat.start };
        let known = self.before.get(pid).filter(|before| before.key == key).copied();
        let is_worker = pid == self.worker && *self.worker_start.get_or_insert(stat.start) == stat.start;
        let has_parent = is_worker || self.now.by_pid.contains_key(&stat.parent);
        match known {
            Some(Process { cgroup, .. }) if has_parent => self.insert(Process { key, stat, cgroup }),
            None if has_parent => self.insert_new(source, key, stat),
            Some(Process { stat: before, cgroup, .. }) => {
                if stat.session == before.session || source.cgroup(pid) == cgroup {
                    self.insert(Process { key, stat, cgroup });
                } else {
                    self.left.push_back(key);
                    self.left.drain(..self.left.len().saturating_sub(MAX_LEFT));
                }
            }
            None => {}
        }
    }

    fn insert(&mut self, process: Process) {
        self.now.by_pid.insert(process.key.pid, self.now.list.len());
        self.now.list.push(process);
    }

    /// Adds a process that was not there before.
    fn insert_new(&mut self, source: &mut impl Source, key: Key, stat: Stat) {
        if self.room > 0 && !self.left.contains(&key) {
            self.room -= 1;
            self.insert(Process { key, stat, cgroup: source.cgroup(key.pid) });
        }
    }

    /// Adds all processes that have what only descendants of the worker can have.
    fn search_orphans(&mut self, source: &mut impl Source, search: Search) {
        let Some(worker) = self.now.get(self.worker).copied() else { return };
        let sessions = self.now.list.iter().map(|process| process.stat.session);
        let own = |session: &Pid| *session != 0 && Some(*session) != self.around.session;
        let sessions: HashSet<Pid> = sessions.filter(own).collect();
        for pid in pids(source) {
            let is_sidecar = pid == self.around.sidecar || Some(pid) == self.around.helper;
            if is_sidecar || self.now.by_pid.contains_key(&pid) {
                continue;
            }
            let Some(stat) = source.stat(pid) else { continue };
            // A shell that executed the sidecar in its place may have left older children.
            if stat.start < worker.stat.start {
                continue;
            }
            let is_adopted = stat.parent == self.around.sidecar;
            let has_session = sessions.contains(&stat.session);
            if is_adopted || has_session || self.has_stderr(source, pid) {
                let (key, start) = (Key { pid, start: stat.start }, self.now.list.len());
                self.insert_new(source, key, stat);
                self.descend(source, search, start);
            }
        }
    }

    /// Whether a process has the worker's stderr.
    fn has_stderr(&self, source: &mut impl Source, pid: Pid) -> bool {
        self.around.stderr.is_some_and(|stderr| source.stderr(pid) == Some(stderr))
    }

    fn list_children(&mut self, source: &mut impl Source) {
        for pid in pids(source) {
            self.children.extend(source.stat(pid).map(|stat| (stat.parent, pid)));
        }
        self.children.sort_unstable();
    }
}

fn pids(source: &mut impl Source) -> Vec<Pid> {
    let mut pids = Vec::new();
    source.all(&mut pids);
    pids
}

/// What the account needs of processes.
fn entries(processes: &Processes) -> impl Iterator<Item = Entry> {
    processes.list.iter().map(|Process { key, stat, .. }| {
        let parent = processes.get(stat.parent).map(|parent| parent.key);
        Entry { key: *key, parent, own: stat.own, waited: stat.waited }
    })
}

#[cfg(test)]
mod tests;
