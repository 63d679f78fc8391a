use super::*;
use crate::observer::vitals::stat::Memory;
use proptest::{collection::vec, prelude::*};
use std::{collections::BTreeMap, time::Duration};

const SIDECAR: Pid = 10;
const WORKER: Pid = 20;
/// The process that adopts orphans.
const INIT: Pid = 1;
const STDERR: FileId = (3, 4);

/// A process of the simulation; times are in seconds.
#[derive(Debug, Clone)]
struct Simulated {
    parent: Pid,
    session: Pid,
    start: u64,
    own: u64,
    waited: u64,
    threads: u64,
    is_zombie: bool,
    cgroup: u64,
    has_stderr: bool,
}

/// A system whose processes change between any two looks at it.
#[derive(Debug, Default)]
struct World {
    processes: BTreeMap<Pid, Simulated>,
    next: Pid,
    /// Time that the worker and its descendants have used.
    used: u64,
    /// What happens before the next looks, one each.
    changes: Vec<(u8, u8)>,
    lists_no_children: bool,
    /// How many more processes can be read, if not all.
    readable: Option<usize>,
}

impl World {
    fn new() -> Self {
        let process = |parent, session| Simulated {
            parent,
            session,
            start: u64::from(parent),
            own: 0,
            waited: 0,
            threads: 1,
            is_zombie: false,
            cgroup: 7,
            has_stderr: false,
        };
        let processes = [
            (INIT, process(0, INIT)),
            (SIDECAR, process(INIT, 5)),
            (11, process(SIDECAR, 5)),
            (WORKER, process(SIDECAR, 5)),
        ];
        Self { processes: processes.into_iter().collect(), next: WORKER + 1, ..Self::default() }
    }

    fn get(&mut self, pid: Pid) -> &mut Simulated {
        self.processes.get_mut(&pid).unwrap()
    }

    fn run(&mut self, pid: Pid, seconds: u64) {
        self.get(pid).own += seconds;
        self.used += seconds;
    }

    fn fork(&mut self, parent: Pid) -> Pid {
        let pid = self.next;
        self.next += 1;
        let child = Simulated { parent, own: 0, waited: 0, start: pid.into(), ..self.get(parent).clone() };
        self.processes.insert(pid, child);
        pid
    }

    /// Its children are adopted, and those that have ended are waited for.
    fn exit(&mut self, pid: Pid) {
        self.get(pid).is_zombie = true;
        for (_, child) in self.processes.iter_mut().filter(|(_, child)| child.parent == pid) {
            child.parent = INIT;
        }
        self.processes.retain(|_, process| process.parent != INIT || !process.is_zombie);
    }

    /// The parent waits for a child that has ended, or the system does for a parent that ignores it.
    fn reap(&mut self, pid: Pid, is_ignored: bool) {
        let Simulated { parent, own, waited, .. } = self.processes.remove(&pid).unwrap();
        if !is_ignored {
            self.get(parent).waited += own + waited;
        }
    }

    /// One of many changes to one of the worker's descendants.
    fn change(&mut self, (what, which): (u8, u8)) {
        let all = self.processes.iter().filter(|(pid, process)| **pid >= WORKER && !process.is_zombie);
        let living: Vec<_> = all.map(|(pid, _)| *pid).collect();
        let pid = living[usize::from(which) % living.len()];
        match what {
            0..40 => self.run(pid, u64::from(what % 7) + 1),
            40..60 => drop(self.fork(pid)),
            60..75 if pid != WORKER => self.exit(pid),
            75..80 => self.get(pid).session = pid,
            _ => {
                let zombies = self.processes.iter().filter(|(_, process)| process.is_zombie);
                let zombies: Vec<_> = zombies.map(|(pid, _)| *pid).collect();
                if let Some(pid) = zombies.get(usize::from(which) % zombies.len().max(1)) {
                    self.reap(*pid, what % 10 == 0);
                }
            }
        }
    }

    fn change_once(&mut self) {
        if let Some(change) = self.changes.pop() {
            self.change(change);
        }
    }
}

impl Source for World {
    fn take_failure(&mut self) -> bool {
        self.readable.take() == Some(0)
    }

    fn stat(&mut self, pid: Pid) -> Option<Stat> {
        self.change_once();
        if let Some(readable) = &mut self.readable {
            *readable = readable.checked_sub(1)?;
        }
        let time = |seconds| CpuTime { user: Duration::from_secs(seconds), system: Duration::ZERO };
        self.processes.get(&pid).map(|process| Stat {
            parent: process.parent,
            session: process.session,
            start: process.start,
            own: time(process.own),
            waited: time(process.waited),
            threads: process.threads,
            vms_bytes: 0,
            is_zombie: process.is_zombie,
        })
    }

    fn lists_children(&self) -> bool {
        !self.lists_no_children
    }

    fn children(&mut self, pid: Pid, of_all_threads: bool, children: &mut Vec<Pid>) {
        self.change_once();
        // All children of a process with several threads are those of another thread than the first.
        let has_others = self.processes.get(&pid).is_some_and(|process| process.threads > 1);
        if of_all_threads || !has_others {
            let all = self.processes.iter().filter(|(_, child)| child.parent == pid);
            children.extend(all.map(|(pid, _)| *pid));
        }
    }

    fn all(&mut self, pids: &mut Vec<Pid>) {
        pids.extend(self.processes.keys());
    }

    fn cgroup(&mut self, pid: Pid) -> Option<u64> {
        self.processes.get(&pid).map(|process| process.cgroup)
    }

    fn stderr(&mut self, pid: Pid) -> Option<FileId> {
        self.processes.get(&pid)?.has_stderr.then_some(STDERR)
    }

    fn memory(&mut self, _: Pid) -> Option<Memory> {
        Some(Memory::default())
    }

    fn fds(&mut self, _: Pid) -> u64 {
        0
    }

    fn pss_bytes(&mut self, _: Pid) -> Option<u64> {
        None
    }
}

const ALL: Search = Search { threads: true, system: true };

fn tree(session: Option<Pid>) -> Tree {
    Tree::new(WORKER, Surroundings { sidecar: SIDECAR, helper: Some(11), session, stderr: Some(STDERR) })
}

/// The processes of a tree, in order, after an update.
fn update(tree: &mut Tree, world: &mut World, search: Search) -> Vec<Pid> {
    tree.update(world, search);
    let mut pids: Vec<_> = tree.processes().iter().map(|process| process.key.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn what_cannot_be_read_for_a_while_has_not_ended() {
    for readable in 0..3 {
        let mut world = World::new();
        let child = world.fork(WORKER);
        let other = world.fork(WORKER);
        world.run(child, 3);
        let mut tree = tree(Some(5));
        let all = [WORKER, child, other];
        assert_eq!(update(&mut tree, &mut world, ALL), all);
        world.run(child, 1);
        world.readable = Some(readable);
        assert!(!tree.update(&mut world, ALL));
        let time = |seconds| CpuTime { user: Duration::from_secs(seconds), system: Duration::ZERO };
        assert_eq!((tree.processes().len(), tree.cpu()), (3, time(3)));
        assert_eq!(update(&mut tree, &mut world, ALL), all);
        assert_eq!(tree.cpu(), time(4));
    }
}

#[test]
fn descendants_belong_to_the_worker_and_others_do_not() {
    for lists_no_children in [false, true] {
        let mut world = World { lists_no_children, ..World::new() };
        let child = world.fork(WORKER);
        let grandchild = world.fork(child);
        let other = world.fork(INIT);
        world.fork(other);
        let mut tree = tree(Some(5));
        assert_eq!(update(&mut tree, &mut world, ALL), [WORKER, child, grandchild]);
    }
}

#[test]
fn an_adopted_process_stays_while_it_is_in_its_session_or_its_control_groups() {
    for (new_session, new_cgroup, stays) in
        [(false, false, true), (true, false, true), (false, true, true), (true, true, false)]
    {
        let mut world = World::new();
        let child = world.fork(WORKER);
        let grandchild = world.fork(child);
        let mut tree = tree(Some(5));
        update(&mut tree, &mut world, ALL);
        if new_session {
            world.get(grandchild).session = grandchild;
        }
        if new_cgroup {
            world.get(grandchild).cgroup = 8;
        }
        world.exit(child);
        world.reap(child, false);
        let expected = if stays { vec![WORKER, grandchild] } else { vec![WORKER] };
        for _ in 0..2 {
            assert_eq!(update(&mut tree, &mut world, ALL), expected, "{new_session} {new_cgroup}");
        }
    }
}

#[test]
fn orphans_are_found_by_a_session_that_others_cannot_be_in() {
    let mut world = World::new();
    let leader = world.fork(WORKER);
    world.get(leader).session = leader;
    let mut tree = tree(Some(5));
    update(&mut tree, &mut world, ALL);
    let orphan = |world: &mut World, parent| {
        let child = world.fork(parent);
        let orphan = world.fork(child);
        world.exit(child);
        world.reap(child, false);
        orphan
    };
    // One in a session of a descendant, and one in that of the sidecar, which the sidecar does not lead.
    let (found, other) = (orphan(&mut world, leader), orphan(&mut world, WORKER));
    assert_eq!(update(&mut tree, &mut world, Search::default()), [WORKER, leader]);
    assert_eq!(update(&mut tree, &mut world, ALL), [WORKER, leader, found]);
    let mut leading = self::tree(None);
    assert_eq!(update(&mut leading, &mut world, ALL), [WORKER, leader, found, other]);
}

#[test]
fn orphans_are_found_by_the_workers_stderr_and_by_the_sidecar_as_their_parent() {
    let mut world = World::new();
    let shells = world.fork(SIDECAR);
    world.get(shells).start = 0;
    let [other, inherits, adopted] = [(); 3].map(|()| world.fork(INIT));
    world.get(inherits).has_stderr = true;
    world.get(adopted).parent = SIDECAR;
    let child = world.fork(adopted);
    let mut tree = tree(Some(5));
    assert_eq!(update(&mut tree, &mut world, Search::default()), [WORKER]);
    assert_eq!(update(&mut tree, &mut world, ALL), [WORKER, inherits, adopted, child]);
    assert!(world.processes.contains_key(&other) && world.processes.contains_key(&shells));
}

#[test]
fn children_of_other_threads_are_looked_for_less_often_and_stay() {
    let mut world = World::new();
    world.get(WORKER).threads = 2;
    let child = world.fork(WORKER);
    let mut tree = tree(Some(5));
    assert_eq!(update(&mut tree, &mut world, Search::default()), [WORKER]);
    assert_eq!(update(&mut tree, &mut world, ALL), [WORKER, child]);
    assert_eq!(update(&mut tree, &mut world, Search::default()), [WORKER, child]);
}

#[test]
fn the_last_update_has_the_time_that_the_worker_used_until_its_end() {
    let time = |seconds| CpuTime { user: Duration::from_secs(seconds), system: Duration::ZERO };
    for is_sampled in [false, true] {
        let mut world = World::new();
        let mut tree = self::tree(Some(5));
        world.run(WORKER, 3);
        if is_sampled {
            tree.update(&mut world, ALL);
        }
        world.run(WORKER, 2);
        world.reap(WORKER, true);
        tree.end(&mut world, Some(time(5)));
        assert_eq!((tree.cpu(), tree.has_worker()), (time(5), false));
    }
    // Another process has its id.
    let mut world = World::new();
    let mut tree = self::tree(Some(5));
    tree.update(&mut world, ALL);
    world.get(WORKER).start += 1;
    world.run(WORKER, 9);
    tree.end(&mut world, Some(time(5)));
    assert_eq!((tree.cpu(), tree.has_worker()), (time(5), false));
    // A child that was seen, and that the worker has waited for at its end.
    let mut world = World::new();
    let child = world.fork(WORKER);
    world.run(child, 4);
    let mut tree = self::tree(Some(5));
    tree.update(&mut world, ALL);
    world.processes.retain(|pid, _| *pid < WORKER);
    tree.end(&mut world, Some(time(6)));
    assert_eq!(tree.cpu(), time(6));
}

proptest! {
    #[test]
    fn time_counts_once_and_never_falls(
        rounds in vec((vec(any::<(u8, u8)>(), 0..20), vec(any::<(u8, u8)>(), 0..20)), 1..30),
    ) {
        let mut world = World::new();
        let mut tree = tree(Some(5));
        let mut before = CpuTime::default();
        for (between, during) in rounds {
            for change in between {
                world.change(change);
            }
            world.changes = during;
            tree.update(&mut world, ALL);
            let now = tree.cpu();
            prop_assert!(now.user >= before.user, "{before:?} {now:?}");
            prop_assert!(now.user <= Duration::from_secs(world.used), "{now:?} of {}", world.used);
            before = now;
        }
    }

    #[test]
    fn nothing_is_missing_if_parents_wait_for_their_children(
        rounds in vec(vec(any::<(u8, u8)>(), 0..20), 1..30),
    ) {
        // Running, starting and being waited for at once.
        let change = |world: &mut World, (what, which): (u8, u8)| match what {
            60..75 => {
                let has_no_children = |pid: &Pid| world.processes.values().all(|other| other.parent != *pid);
                let mut leaves: Vec<_> = world.processes.keys().copied().filter(has_no_children).collect();
                leaves.retain(|pid| *pid > WORKER);
                if let Some(pid) = leaves.get(usize::from(which) % leaves.len().max(1)) {
                    world.exit(*pid);
                    world.reap(*pid, false);
                }
            }
            0..60 => world.change((what, which)),
            _ => {}
        };
        let mut world = World::new();
        let mut tree = tree(Some(5));
        for between in rounds {
            for one in between {
                change(&mut world, one);
            }
            tree.update(&mut world, ALL);
            prop_assert_eq!(tree.cpu().user, Duration::from_secs(world.used));
        }
    }
}
