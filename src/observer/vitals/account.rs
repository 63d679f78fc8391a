//! Processor time of processes that come and go: nothing is lost, nothing counts twice, and no sum falls.
//!
//! The system adds the time of a process that has ended to its parent, if and when the parent waits for it.
//! So a process's time is either its own, or part of an ancestor's time of waited-for children, or nowhere:
//! another process adopted it and waited for it, or its parent ignores its children.
//!
//! | process        | what counts                                                                     |
//! | -------------- | ------------------------------------------------------------------------------- |
//! | is there       | its own time and that of the children that it has waited for                    |
//! | has just ended | its last time, less what its nearest living ancestor has gained from children   |
//! | ended before   | what remains of that, forever                                                   |
//!
//! An ancestor is looked at before its descendants. So the gain that contains a process's time may come with
//! the next update, and that is the one after it and all between them were missing first. Only then is it
//! certain that there is none. What an ancestor gained is used once, first for the processes that ended
//! first. It may as well come from children that lived too short to be seen. Then a part of another's time
//! may be missing from the sum, but none is in it twice.

use super::stat::Pid;
use crate::worker::vitals::CpuTime;
use std::{collections::HashMap, mem};

/// Identifies a process: ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pid: Pid,
    /// In clock ticks since the system's start.
    pub(super) start: u64,
}

/// A process that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// Its parent, if that is one of the processes.
    pub(super) parent: Option<Key>,
    /// Its own time.
    pub(super) own: CpuTime,
    /// The time of children that it has waited for.
    pub(super) waited: CpuTime,
}

/// The sum of the time of all processes that were there at some update.
#[derive(Debug, Default)]
pub(super) struct Account {
    present: HashMap<Key, Present>,
    /// In the order in which they ended.
    ended: Vec<Ended>,
    /// The time of ended processes that is in no ancestor's.
    kept: CpuTime,
    total: CpuTime,
}

#[derive(Debug)]
struct Present {
    parent: Option<Key>,
    cpu: CpuTime,
    waited: CpuTime,
    /// What it has gained from children, and is not used yet: at the update before, and at the last one.
    gains: [CpuTime; 2],
}

#[derive(Debug)]
struct Ended {
    key: Key,
    parent: Option<Key>,
    /// Its last time, as far as no ancestor has gained it.
    rest: CpuTime,
    /// Whether it was missing at the update before already.
    is_settled: bool,
}

impl Account {
    /// Processor time so far.
    pub(super) fn total(&self) -> CpuTime {
        self.total
    }

    /// Updates the sum, given all processes that are there.
    pub(super) fn update(&mut self, entries: impl Iterator<Item = Entry>) {
        let mut before = mem::take(&mut self.present);
        for Entry { key, parent, own, waited } in entries {
            let gains = before.remove(&key).map_or_else(Default::default, |known| {
                let [_, last] = known.gains;
                [last, waited.minus(known.waited)]
            });
            self.present.insert(key, Present { parent, cpu: own.plus(waited), waited, gains });
        }
        self.ended.iter_mut().for_each(|ended| ended.is_settled = true);
        let ended = before.into_iter().map(|(key, Present { parent, cpu, .. })| Ended {
            key,
            parent,
            rest: cpu,
            is_settled: false,
        });
        self.ended.extend(ended);
        self.settle();
        let present = self.present.values().map(|process| process.cpu);
        let sum = present.chain(self.ended.iter().map(|ended| ended.rest)).sum::<CpuTime>();
        // A process that was looked at before its new parent may count twice until the next update.
        self.total = self.total.max(sum.plus(self.kept));
    }

    /// Uses what ancestors have gained for the processes that have ended.
    fn settle(&mut self) {
        let between = self.ended.iter().map(|ended| (ended.key, (ended.parent, ended.is_settled)));
        let between: HashMap<_, _> = between.collect();
        let (present, kept) = (&mut self.present, &mut self.kept);
        self.ended.retain_mut(|ended| {
            let (mut ancestor, mut is_settled) = (ended.parent, ended.is_settled);
            while let Some(key) = ancestor.filter(|key| !present.contains_key(key)) {
                let (parent, settled) = between.get(&key).copied().unwrap_or_default();
                (ancestor, is_settled) = (parent, is_settled && settled);
            }
            let Some(ancestor) = ancestor.and_then(|key| present.get_mut(&key)) else {
                *kept = kept.plus(ended.rest);
                return false;
            };
            // The gain of the update before cannot contain a process that was there at that update, nor one
            // whose parent was.
            let unusable = usize::from(!is_settled);
            for gain in ancestor.gains.iter_mut().skip(unusable) {
                let used = gain.min(ended.rest);
                (*gain, ended.rest) = (gain.minus(used), ended.rest.minus(used));
            }
            if is_settled {
                *kept = kept.plus(ended.rest);
            }
            !is_settled
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(pid: Pid) -> Key {
        Key { pid, start: 0 }
    }

    /// A process with its parent, or 0, and the seconds of itself and of its children.
    fn entry((pid, parent, own, waited): (Pid, Pid, u64, u64)) -> Entry {
        let time = |seconds| CpuTime { user: Duration::from_secs(seconds), system: Duration::ZERO };
        let parent = (parent > 0).then(|| key(parent));
        Entry { key: key(pid), parent, own: time(own), waited: time(waited) }
    }

    /// The sum after each update, in seconds.
    fn sums(updates: &[&[(Pid, Pid, u64, u64)]]) -> Vec<u64> {
        let mut account = Account::default();
        let sum = |processes: &&[(Pid, Pid, u64, u64)]| {
            account.update(processes.iter().copied().map(entry));
            account.total().user.as_secs()
        };
        updates.iter().map(sum).collect()
    }

    #[test]
    fn a_child_that_was_waited_for_counts_once() {
        // Its parent was looked at after it had waited, or before.
        assert_eq!(sums(&[&[(1, 0, 5, 0), (2, 1, 3, 0)], &[(1, 0, 6, 4)]]), [8, 10]);
        let late: &[&[_]] =
            &[&[(1, 0, 5, 0), (2, 1, 3, 0)], &[(1, 0, 6, 0)], &[(1, 0, 6, 4)], &[(1, 0, 6, 4)]];
        assert_eq!(sums(late), [8, 9, 10, 10]);
    }

    #[test]
    fn a_child_that_nobody_waited_for_stays_in_the_sum() {
        let ignored: &[&[_]] =
            &[&[(1, 0, 5, 0), (2, 1, 3, 0)], &[(1, 0, 6, 0)], &[(1, 0, 7, 0)], &[(1, 0, 7, 2)]];
        assert_eq!(sums(ignored), [8, 9, 10, 12]);
        // An orphan, waited for by another process; then the worker's children that were not seen.
        assert_eq!(sums(&[&[(1, 0, 5, 0), (2, 0, 3, 0)], &[(1, 0, 5, 9)]]), [8, 17]);
    }

    #[test]
    fn ended_generations_are_in_the_nearest_ancestor() {
        let before: &[_] = &[(1, 0, 1, 0), (2, 1, 2, 0), (3, 2, 4, 0), (4, 3, 8, 0)];
        assert_eq!(sums(&[before, &[(1, 0, 1, 14)]]), [15, 15]);
        // The last one was adopted by another process when its parent ended.
        assert_eq!(sums(&[before, &[(1, 0, 1, 6)], &[(1, 0, 1, 6)]]), [15, 15, 15]);
        // Each parent waits, and ends, after its own parent was looked at.
        let (two, three, four) =
            ([(1, 0, 1, 0), (2, 1, 2, 0), (3, 2, 4, 0)], [(1, 0, 1, 0), (2, 1, 2, 0)], [(1, 0, 1, 0)]);
        assert_eq!(sums(&[before, &two, &three, &four, &[(1, 0, 1, 14)]]), [15; 5]);
        // All of them have ended.
        assert_eq!(sums(&[before, &[], &[]]), [15, 15, 15]);
    }

    #[test]
    fn a_gain_is_used_once() {
        let two: &[_] = &[(1, 0, 1, 0), (2, 1, 3, 0), (3, 1, 3, 0)];
        assert_eq!(sums(&[two, &[(1, 0, 1, 3)], &[(1, 0, 1, 3)]]), [7, 7, 7]);
        assert_eq!(
            sums(&[two, &[(1, 0, 1, 3), (3, 1, 3, 0)], &[(1, 0, 1, 3)], &[(1, 0, 1, 6)]]),
            [7, 7, 7, 7]
        );
        // The gain of an earlier update is not that of a process that was there at it.
        let earlier: &[&[_]] =
            &[&[(1, 0, 1, 0), (2, 1, 3, 0)], &[(1, 0, 1, 5), (2, 1, 3, 0)], &[(1, 0, 1, 5)]];
        assert_eq!(sums(earlier), [4, 9, 9]);
    }

    #[test]
    fn an_id_that_is_used_again_is_another_process() {
        let mut account = Account::default();
        let with = |start, seconds| {
            let entry = entry((1, 0, seconds, 0));
            Entry { key: Key { pid: 1, start }, ..entry }
        };
        account.update([with(1, 5)].into_iter());
        account.update([with(2, 3)].into_iter());
        assert_eq!(account.total().user.as_secs(), 8);
    }
}
