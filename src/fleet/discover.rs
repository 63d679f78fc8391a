//! The sidecars that run on this host, found through `/proc`: nothing registers them.
//!
//! A sidecar is a process of this user (root sees those of all) in this network and process namespace, with
//! this program or one of its name, that listens. So commands that connect to sidecars, and the helper
//! processes of sidecars, are left out: they do not listen. Processes that end meanwhile are left out, too.

mod clock;
mod command;
mod process;
mod sockets;

use crate::{
    event::proto::sidecar::GetStatusResponse,
    net::address::{Address, HostPort},
};
use clock::Clock;
use command::{command, is_client, metadata, worker};
use nix::libc::{EMFILE, ENFILE};
use process::{Entry, Program, command_line};
use sockets::Sockets;
use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
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
    /// What `--metadata` on its command line adds to the events: `worker=7, host=a`, or nothing.
    pub metadata: String,
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

    /// One with this process id, for tests.
    #[cfg(test)]
    pub(super) fn example(pid: u32) -> Self {
        let (started, listeners) = (SystemTime::UNIX_EPOCH, Vec::new());
        let (command, metadata) = Default::default();
        Self { pid, uid: 0, worker: None, command, metadata, started, start_ticks: 0, listeners }
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
        let sockets = process::sockets(entry.pid);
        // One that is ending has no namespaces, nor has one that its parent has not waited for.
        if process::has_ended(entry.pid, entry.start_ticks) {
            continue;
        }
        match sockets {
            Err(error) if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => return Err(error),
            // It has ended since.
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
            metadata: metadata(&words),
            started: clock.time(entry.start_ticks),
            start_ticks: entry.start_ticks,
            listeners,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let short =
            |command: &str| Sidecar { command: command.into(), ..Sidecar::example(1) }.short_command();
        assert_eq!(short("/usr/bin/python3 /srv/w.py -v"), "python3 /srv/w.py -v");
        assert_eq!((short("sh"), short("/bin/"), short("")), ("sh".into(), "/bin/".into(), String::new()));
    }

    #[test]
    fn the_metrics_page_is_no_listener_of_grpc() {
        let is_at = |bound: &str, found: &str| is_at(bound.parse().unwrap(), &found.parse().unwrap());
        assert!(is_at("127.0.0.1:1", "127.0.0.1:1") && is_at("127.0.0.1:1", "[::1]:1"));
        assert!(is_at("0.0.0.0:1", "127.0.0.1:1") && is_at("[::]:1", "[::1]:1"));
        assert!(is_at("192.0.2.1:1", "192.0.2.1:1") && !is_at("192.0.2.1:1", "127.0.0.1:1"));
        assert!(!is_at("127.0.0.1:1", "127.0.0.1:2") && !is_at("127.0.0.1:1", "unix:/1"));
    }
}
