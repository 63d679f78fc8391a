use super::*;
use std::{fs, os::unix::fs::symlink, time::Duration};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A root of a file system with one process, `self`, and what the kernel shows of control groups.
struct Host(TempDir);

impl Host {
    fn new(groups: &str, mounts: &str) -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        let own = std::process::id().to_string();
        host.write(&format!("proc/{own}/cgroup"), groups);
        symlink(own, host.0.path().join("proc/self")).unwrap();
        host.write("proc/self/mountinfo", mounts);
        host
    }

    fn v1() -> Self {
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:1 - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        Self::new("4:cpuset:/\n3:memory:/pool/worker\n1:name=systemd:/x\n0::/y\n", mounts)
    }

    fn v2() -> Self {
        Self::new(
            "0::/pool/worker\n",
            "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
        )
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn kills_v1(&self, group: &str, count: u64) {
        let content = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n");
        self.write(&format!("sys/fs/cgroup/memory{group}/memory.oom_control"), &content);
    }

    fn kills_v2(&self, group: &str, count: u64) {
        // Groups below count there, too.
        for (file, count) in [("memory.events.local", count), ("memory.events", count + 7)] {
            let content = format!("low 0\nhigh 0\nmax 5\noom 4\noom_kill {count}\noom_group_kill 0\n");
            self.write(&format!("sys/fs/cgroup{group}/{file}"), &content);
        }
    }

    fn kills_on_host(&self, count: u64) {
        self.write("proc/vmstat", &format!("nr_free_pages 12\noom_kill {count}\nswap_ra 0\n"));
    }

    fn watch(&self) -> MemoryWatch {
        MemoryWatch::start(self.0.path())
    }

    /// What `refresh` sees of a worker that runs in this group.
    fn refresh(&self, watch: &mut MemoryWatch, groups: &str) {
        self.write("proc/77/cgroup", groups);
        watch.refresh(Pid::from_raw(77));
    }

    /// What `look` sees of a worker that ended in this group.
    fn look(&self, watch: &mut MemoryWatch, groups: &str) {
        self.write("proc/77/cgroup", groups);
        watch.look(Pid::from_raw(77));
    }
}

fn end(watch: &MemoryWatch, exit: Exit) -> (&'static str, u64) {
    let end = watch.end(exit, usage(0));
    assert_eq!((end.exit, end.usage), (exit, usage(0)));
    (end.reason.as_str(), end.oom_kills.unwrap_or(0))
}

fn usage(max_rss_bytes: u64) -> Usage {
    Usage { user: Duration::from_secs(1), system: Duration::ZERO, max_rss_bytes }
}

const KILLED: Exit = Exit::Signal(9);
const MAYBE: &str = "killed, maybe out of memory";

#[test]
fn a_kill_that_its_group_counted_is_out_of_memory() {
    let old = Host::v1();
    let new = Host::v2();
    for (host, kills) in [(&old, Host::kills_v1 as fn(&Host, &str, u64)), (&new, Host::kills_v2)] {
        host.kills_on_host(40);
        kills(host, "/pool/worker", 3);
        let watch = host.watch();
        assert_eq!(end(&watch, KILLED), ("signal", 0));
        kills(host, "/pool/worker", 5);
        host.kills_on_host(42);
        assert_eq!(end(&watch, KILLED), ("out of memory", 2));
        // The shell in front of what was killed.
        assert_eq!(end(&watch, Exit::Code(137)), ("out of memory", 2));
        // Children were killed.
        assert_eq!(end(&watch, Exit::Code(1)), ("exit", 2));
        assert_eq!(end(&watch, Exit::Signal(15)), ("signal", 2));
    }
}

#[test]
fn groups_above_count_where_the_own_one_does_not() {
    let host = Host::v2();
    host.kills_v2("/pool", 1);
    let watch = host.watch();
    host.kills_v2("/pool", 2);
    assert_eq!(end(&watch, KILLED), ("out of memory", 1));

    // Before Linux 5.2.
    let host = Host::v2();
    host.write("sys/fs/cgroup/pool/worker/memory.events", "oom_kill 1\n");
    let watch = host.watch();
    host.write("sys/fs/cgroup/pool/worker/memory.events", "oom_kill 2\n");
    assert_eq!(end(&watch, KILLED), ("out of memory", 1));
}

#[test]
fn a_worker_that_was_moved_counts_where_it_ended() {
    let host = Host::v2();
    host.kills_on_host(1);
    host.kills_v2("/pool/worker", 1);
    let mut watch = host.watch();
    host.kills_v2("/scope", 1);
    host.look(&mut watch, "0::/scope (deleted)\n");
    assert_eq!(end(&watch, KILLED), ("signal", 0), "from an earlier run");
    host.kills_on_host(2);
    assert_eq!(end(&watch, KILLED), ("out of memory", 1));
    host.look(&mut watch, "0::/pool/worker\n");
    assert_eq!(end(&watch, KILLED), ("signal", 0), "another process of the host was killed");
}

#[test]
fn a_kill_of_another_process_long_before_is_not_the_workers() {
    for (host, kills, groups) in [
        (Host::v1(), Host::kills_v1 as fn(&Host, &str, u64), "3:memory:/pool/worker\n"),
        (Host::v2(), Host::kills_v2, "0::/pool/worker\n"),
    ] {
        host.kills_on_host(1);
        kills(&host, "/pool/worker", 1);
        let mut watch = host.watch();
        host.refresh(&mut watch, groups);
        host.kills_on_host(2);
        kills(&host, "/pool/worker", 2);
        // It may take a while to die.
        assert_eq!(end(&watch, KILLED), ("out of memory", 1));
        host.refresh(&mut watch, groups);
        assert_eq!(end(&watch, KILLED), ("out of memory", 1));
        host.refresh(&mut watch, groups);
        assert_eq!(end(&watch, KILLED), ("signal", 1));
        // One elsewhere on the host.
        host.kills_on_host(3);
        host.look(&mut watch, groups);
        let expected = if watch.last_group.is_some() { ("signal", 1) } else { (MAYBE, 1) };
        assert_eq!(end(&watch, KILLED), expected);
    }
}

#[test]
fn a_worker_that_was_moved_long_before_counts_where_it_is() {
    let host = Host::v1();
    host.kills_on_host(1);
    host.kills_v1("/pool/worker", 0);
    host.kills_v1("/scope", 4);
    let mut watch = host.watch();
    for _ in 0..2 {
        host.refresh(&mut watch, "3:memory:/scope\n");
    }
    assert_eq!(end(&watch, KILLED), ("signal", 0));
    host.kills_on_host(2);
    host.kills_v1("/scope", 5);
    assert_eq!(end(&watch, KILLED), ("out of memory", 1));
}

#[test]
fn in_the_proc_of_another_namespace_the_workers_id_is_that_of_another_process() {
    let host = Host::v2();
    host.kills_v2("/pool/worker", 1);
    host.kills_v2("/other", 1);
    fs::remove_file(host.0.path().join("proc/self")).unwrap();
    symlink("76", host.0.path().join("proc/self")).unwrap();
    fs::rename(host.0.path().join(format!("proc/{}", std::process::id())), host.0.path().join("proc/76"))
        .unwrap();
    let mut watch = host.watch();
    for _ in 0..2 {
        host.refresh(&mut watch, "0::/other\n");
    }
    host.look(&mut watch, "0::/other\n");
    host.kills_v2("/other", 2);
    assert_eq!(end(&watch, KILLED), ("signal", 0));
    host.kills_v2("/pool/worker", 2);
    assert_eq!(end(&watch, KILLED), ("out of memory", 1));
}

#[test]
fn what_is_not_known_is_maybe_out_of_memory() {
    // Version 1 does not show where the worker ended.
    let host = Host::v1();
    host.kills_on_host(1);
    host.kills_v1("/pool/worker", 0);
    let mut watch = host.watch();
    host.look(&mut watch, "3:memory:/\n");
    assert_eq!(end(&watch, KILLED), ("signal", 0));
    host.kills_on_host(2);
    assert_eq!(end(&watch, KILLED), (MAYBE, 0));
    assert_eq!(end(&watch, Exit::Code(137)), (MAYBE, 0));
    assert_eq!(end(&watch, Exit::Signal(15)), ("signal", 0));
    assert_eq!(end(&watch, Exit::Code(1)), ("exit", 0));

    let host = Host::new("", "");
    host.kills_on_host(1);
    let watch = host.watch();
    assert_eq!(end(&watch, KILLED), ("signal", 0));
    host.kills_on_host(2);
    assert_eq!(end(&watch, KILLED), (MAYBE, 0));
}

#[test]
fn without_counters_a_worker_near_its_limit_is_maybe_out_of_memory() {
    let host = Host::v2();
    host.write("sys/fs/cgroup/pool/worker/memory.max", "max\n");
    host.write("sys/fs/cgroup/pool/memory.max", &format!("{}\n", 100 * MIB));
    let reason = |host: &Host, bytes| host.watch().end(KILLED, usage(bytes)).reason;
    assert_eq!(reason(&host, 91 * MIB), Reason::MaybeOutOfMemory);
    assert_eq!(reason(&host, 89 * MIB), Reason::Signal);
    host.write("sys/fs/cgroup/pool/memory.max", "max\n");
    assert_eq!(reason(&host, 1 << 50), Reason::Signal);

    let host = Host::v1();
    host.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_eq!(reason(&host, 1 << 50), Reason::Signal);
    host.write("sys/fs/cgroup/memory/pool/memory.limit_in_bytes", &format!("{}\n", 100 * MIB));
    assert_eq!(reason(&host, 95 * MIB), Reason::MaybeOutOfMemory);
}

#[test]
fn a_host_without_anything_to_read_has_only_the_exit_status() {
    let root = tempfile::tempdir().unwrap();
    let mut watch = MemoryWatch::start(root.path());
    watch.look(Pid::from_raw(1));
    assert_eq!(end(&watch, KILLED), ("signal", 0));
    assert_eq!(end(&watch, Exit::Code(0)), ("exit", 0));
}

#[test]
fn groups_are_found_in_containers() {
    let found = |groups: &str, mounts: &str| {
        let host = Host::new(groups, mounts);
        let group = MemoryGroup::of("self", host.0.path())?;
        host.write("sys/fs/cgroup/a b/x/memory.events", "oom_kill 9\n");
        host.write("sys/fs/cgroup/memory.events", "oom_kill 8\n");
        group.oom_kills()
    };
    let mount = |root: &str, at: &str| format!("30 23 0:26 {root} {at} rw shared:4 - cgroup2 cgroup2 rw\n");
    // Without a namespace of its own the mount begins at the container's group.
    assert_eq!(found("0::/docker/1\n", &mount("/docker/1", "/sys/fs/cgroup")), Some(8));
    assert_eq!(found("0::/\n", &mount("/", "/sys/fs/cgroup")), Some(8));
    assert_eq!(found("0::/x\n", &mount("/", "/sys/fs/cgroup/a\\040b")), Some(9));
    assert_eq!(found("0::/../other\n", &mount("/", "/sys/fs/cgroup")), None);
    assert_eq!(found("0::/other\n", &mount("/docker/1", "/sys/fs/cgroup")), None);
    assert_eq!(found("2:cpu,memory:/x\n0::/\n", &mount("/", "/sys/fs/cgroup")), None);
    assert_eq!(found("no colon\n", "no dash\n"), None);
}
