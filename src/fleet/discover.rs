//! The sidecars that run on this host, found through `/proc`: nothing registers them.
//!
//! A sidecar is a process of this user (root sees those of all) in this network and process namespace, with
//! this program or one of its name, that listens. So commands that connect to sidecars, and the helper
//! processes of sidecars, are left out: they do not listen. Processes that end meanwhile are left out, too.

mod process;
mod sockets;

use crate::{
    event::proto::sidecar::GetStatusResponse,
    net::address::{Address, HostPort},
    system::{log::PROGRAM, visible::one_line},
};
use nix::libc::{EMFILE, ENFILE};
use process::{Entry, Program, command_line};
use sockets::Sockets;
use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A running sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// Its process id.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// The process id of its worker; none in a replay, and once the worker has ended.
    pub worker: Option<u32>,
    /// The worker's command line, or `replay FILE`, with spaces between the words and without control
    /// characters.
    pub command: String,
    /// When it was started, to about 10 ms.
    pub started: SystemTime,
    /// When it was started, in clock ticks after the boot: with the process id it names this one process.
    pub start_ticks: u64,
    /// Where to connect, in the order in which the sockets were made, at least one. One of them may be its
    /// metrics page. A wildcard address is shown as that of the loopback interface.
    pub listeners: Vec<Address>,
}

impl Sidecar {
    /// The command line without the directory of its program, which says least and stands first.
    pub fn short_command(&self) -> String {
        let (program, arguments) = match self.command.split_once(' ') {
            Some((program, arguments)) => (program, Some(arguments)),
            None => (self.command.as_str(), None),
        };
        let name = program.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(program);
        arguments.map_or_else(|| name.to_owned(), |arguments| format!("{name} {arguments}"))
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed().unwrap_or_default()
    }

    /// The listeners without that of the metrics page, which the counters name.
    pub fn grpc_listeners(&self, status: Option<&GetStatusResponse>) -> Vec<&Address> {
        let page = status.and_then(|status| status.prometheus_address.parse().ok());
        let is_page = |address: &Address| page.is_some_and(|page| is_at(page, address));
        self.listeners.iter().filter(|address| !is_page(address)).collect()
    }

    /// Whether it has ended, even if its parent has not waited for it yet. If `/proc` cannot be read now it
    /// has not.
    pub fn has_ended(&self) -> bool {
        process::has_ended(self.pid, self.start_ticks)
    }

    /// Whether it is stopped now, as by Ctrl-Z, and so cannot answer.
    pub fn is_stopped(&self) -> bool {
        Entry::read(self.pid).is_some_and(|entry| entry.stopped)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The sidecars, oldest first.
    pub sidecars: Vec<Sidecar>,
    /// How many more belong to other users, or cannot be examined for another reason.
    pub other_users: usize,
    /// How many more run in containers: in other network or process namespaces.
    pub other_namespaces: usize,
}

impl Found {
    /// How many are left out, and why, as a sentence without its end; none if there are none.
    pub fn left_out(&self) -> Option<String> {
        let reasons = match (self.other_users, self.other_namespaces) {
            (0, 0) => return None,
            (_, 0) => "to other users",
            (0, _) => "",
            _ => "in containers or belong to other users",
        };
        let count = self.other_users + self.other_namespaces;
        Some(match (count, reasons) {
            (1, "") => "1 more runs in a container".into(),
            (_, "") => format!("{count} more run in containers"),
            (1, "to other users") => "1 more belongs to another user".into(),
            (_, "to other users") => format!("{count} more belong to other users"),
            (_, reasons) => format!("{count} more run {reasons}"),
        })
    }
}

/// The error message if there is no sidecar, but perhaps some that are [left out](Found::left_out). `how`
/// says more about the search, or is empty.
pub fn none_found(how: &str, left_out: Option<&str>) -> String {
    // "2 more" would need others that were found.
    let left_out = left_out.map(|left_out| format!(" ({})", left_out.replace(" more ", " ")));
    format!("no sidecar found{how}{}", left_out.unwrap_or_default())
}

/// Whether there is a process with this id.
pub fn is_running(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// Whether a socket that is bound to this address was found at the other one: a wildcard address is found as
/// one of the loopback interface, and the page may have one of each protocol.
fn is_at(bound: SocketAddr, found: &Address) -> bool {
    let Address::Tcp(HostPort { host, port }) = found else { return false };
    let (bound_ip, ip) = (bound.ip().to_canonical(), host.parse::<IpAddr>());
    let is_local = bound_ip.is_unspecified() || bound_ip.is_loopback();
    *port == bound.port() && ip.is_ok_and(|ip| ip == bound_ip || is_local && ip.is_loopback())
}

/// Finds the sidecars that run now.
///
/// # Errors
///
/// If `/proc` cannot be read, or no descriptor is free.
pub fn sidecars() -> io::Result<Found> {
    let own = Program::own();
    let namespaces = process::namespaces("self");
    let entries: Vec<Entry> = process::ids()?.filter_map(Entry::read).collect();
    let mut found = Found::default();
    let mut candidates = Vec::new();
    for entry in entries.iter().filter(|entry| own.is_of(entry)) {
        let words = command_line(entry.pid);
        if is_client(&words) {
            continue;
        }
        let theirs = process::namespaces(&entry.pid.to_string());
        match process::sockets(entry.pid) {
            Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => return Err(error),
            // It has ended.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {}
            Err(_) => found.other_users += 1,
            Ok(_) if theirs != namespaces => found.other_namespaces += 1,
            Ok(inodes) => candidates.push((entry, words, inodes)),
        }
    }
    let wanted: HashSet<u64> = candidates.iter().flat_map(|(_, _, inodes)| inodes).copied().collect();
    let sockets = if wanted.is_empty() { Sockets::default() } else { Sockets::listening(&wanted) };
    let mut children: HashMap<u32, Vec<&Entry>> = HashMap::new();
    for entry in &entries {
        children.entry(entry.parent).or_default().push(entry);
    }
    let clock = Clock::read();
    // A fork has the sockets of its parent until it executes the worker: the oldest process has made them.
    candidates.sort_by_key(|(entry, ..)| (entry.start_ticks, entry.pid));
    let mut taken = HashSet::new();
    for (entry, words, mut inodes) in candidates {
        inodes.sort_unstable();
        inodes.retain(|inode| taken.insert(*inode));
        let cwd = &|| process::working_directory(entry.pid);
        let mut listeners: Vec<Address> = Vec::new();
        for address in inodes.iter().filter_map(|inode| sockets.address(*inode, cwd)) {
            if !listeners.contains(&address) {
                listeners.push(address);
            }
        }
        if listeners.is_empty() {
            continue;
        }
        let worker = children.get(&entry.pid).and_then(|children| worker(children));
        found.sidecars.push(Sidecar {
            pid: entry.pid,
            uid: process::owner(entry.pid),
            worker: worker.map(|worker| worker.pid),
            command: command(worker, &words, cwd),
            started: clock.time(entry.start_ticks),
            start_ticks: entry.start_ticks,
            listeners,
        });
    }
    Ok(found)
}

/// The subcommand that is a sidecar without a worker.
const REPLAY: &str = "replay";

/// Subcommands that are no sidecars: one of them listens, and the sockets of others' processes are unknown.
const CLIENTS: [&str; 7] = ["decode", "tail", "ps", "status", "top", "gather", "completions"];

fn is_client(words: &[String]) -> bool {
    words.get(1).is_some_and(|word| CLIENTS.contains(&word.as_str()))
}

/// The worker: the first child that is no helper of the sidecar. A container's init gets others later.
fn worker<'a>(children: &[&'a Entry]) -> Option<&'a Entry> {
    let workers = children.iter().filter(|child| !child.is_helper());
    workers.min_by_key(|child| (child.start_ticks, child.pid)).copied()
}

/// What the worker runs, or the words of the sidecar's own command line that say it.
fn command(worker: Option<&Entry>, sidecar: &[String], cwd: &dyn Fn() -> Option<PathBuf>) -> String {
    let mut words = worker.map(|worker| command_line(worker.pid)).unwrap_or_default();
    // A fork that has not executed the worker yet has the sidecar's.
    if words == sidecar {
        words.clear();
    }
    if words.is_empty() {
        let given = sidecar.get(1..).unwrap_or_default();
        words = match given.iter().position(|word| word == "--") {
            _ if given.first().is_some_and(|word| word == REPLAY) => replay(given, cwd),
            Some(at) => given.get(at + 1..).unwrap_or_default().to_vec(),
            None => given.to_vec(),
        };
    }
    let words = words.iter().map(|word| one_line(word)).collect::<Vec<_>>();
    if words.is_empty() { PROGRAM.into() } else { words.join(" ") }
}

/// `replay` and its files. A word after a long option may be the option's value: the last one is a file if
/// there is one of that name and no other file was given.
fn replay(given: &[String], cwd: &dyn Fn() -> Option<PathBuf>) -> Vec<String> {
    let is_option = |word: &String| word.len() > 1 && word.starts_with('-');
    let takes_value = |word: &String| word.starts_with("--") && !word.contains('=');
    let words = given.windows(2).filter_map(|pair| match pair {
        [before, word] if !takes_value(before) && !is_option(word) => Some(word),
        _ => None,
    });
    let mut files: Vec<&String> = words.collect();
    let last = given.last().filter(|word| cwd().is_some_and(|cwd| cwd.join(word.as_str()).exists()));
    if files.is_empty() {
        files.extend(last);
    }
    given.iter().take(1).chain(files).cloned().collect()
}

/// Converts start times.
struct Clock {
    now: SystemTime,
    since_boot: Duration,
    ticks_per_second: u64,
}

impl Clock {
    fn read() -> Self {
        let since_boot = std::fs::read_to_string(Path::new("/proc/uptime")).unwrap_or_default();
        let seconds = since_boot.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
        Self {
            now: SystemTime::now(),
            since_boot: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            ticks_per_second: process::ticks_per_second(),
        }
    }

    /// The time of this many ticks after the boot.
    fn time(&self, ticks: u64) -> SystemTime {
        let start = Duration::from_millis(ticks.saturating_mul(1000) / self.ticks_per_second.max(1));
        self.now.checked_sub(self.since_boot.saturating_sub(start)).unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn those_that_are_left_out_are_counted_in_a_sentence() {
        let left_out = |other_users, other_namespaces| {
            Found { sidecars: Vec::new(), other_users, other_namespaces }.left_out().unwrap_or_default()
        };
        assert_eq!(left_out(0, 0), "");
        assert_eq!(left_out(1, 0), "1 more belongs to another user");
        assert_eq!(left_out(2, 0), "2 more belong to other users");
        assert_eq!(left_out(0, 1), "1 more runs in a container");
        assert_eq!(left_out(0, 3), "3 more run in containers");
        assert_eq!(left_out(1, 1), "2 more run in containers or belong to other users");
    }

    #[test]
    fn a_short_command_has_no_directory() {
        let short = |command: &str| {
            let started = SystemTime::UNIX_EPOCH;
            let (worker, listeners, command) = (None, Vec::new(), command.into());
            Sidecar { pid: 1, uid: 0, worker, command, started, start_ticks: 0, listeners }.short_command()
        };
        assert_eq!(short("/usr/bin/python3 /srv/w.py -v"), "python3 /srv/w.py -v");
        assert_eq!((short("sh"), short("/bin/"), short("")), ("sh".into(), "/bin/".into(), String::new()));
    }

    #[test]
    fn a_sidecar_without_a_worker_is_described_by_its_own_command_line() {
        let described = |line: &str| command(None, &words(line), &|| Some("/dev".into()));
        assert_eq!(described("telemetry-sidecar -v -- python w.py -- x"), "python w.py -- x");
        assert_eq!(described("/bin/telemetry-sidecar replay a.log - -v"), "replay a.log -");
        assert_eq!(
            described("s replay --listen 127.0.0.1:0 --record=x -v a.log b.log"),
            "replay a.log b.log"
        );
        assert_eq!(described("s replay --pace null"), "replay null");
        assert_eq!(described("s replay a.log --listen 127.0.0.1:0"), "replay a.log");
        assert_eq!(command(None, &["x".into(), "--".into(), "a\nb".into()], &|| None), "a\\nb");
        assert_eq!(command(None, &[], &|| None), "telemetry-sidecar");
    }

    #[test]
    fn the_metrics_page_is_no_listener_of_grpc() {
        let is_at = |bound: &str, found: &str| is_at(bound.parse().unwrap(), &found.parse().unwrap());
        assert!(is_at("127.0.0.1:1", "127.0.0.1:1") && is_at("127.0.0.1:1", "[::1]:1"));
        assert!(is_at("0.0.0.0:1", "127.0.0.1:1") && is_at("[::]:1", "[::1]:1"));
        assert!(is_at("192.0.2.1:1", "192.0.2.1:1") && !is_at("192.0.2.1:1", "127.0.0.1:1"));
        assert!(!is_at("127.0.0.1:1", "127.0.0.1:2") && !is_at("127.0.0.1:1", "unix:/1"));
    }

    #[test]
    fn a_start_time_is_counted_from_the_boot() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let clock = Clock { now, since_boot: Duration::from_secs(100), ticks_per_second: 100 };
        assert_eq!(clock.time(9_000), now - Duration::from_secs(10));
        assert_eq!(clock.time(u64::MAX), now);
    }
}
