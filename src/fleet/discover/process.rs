//! What `/proc/PID` says about a process.

use crate::system::log::PROGRAM;
use nix::{
    libc::ESRCH,
    unistd::{SysconfVar, sysconf},
};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::PathBuf,
};

/// The kernel keeps this many bytes of a process's name.
const COMM_BYTES: usize = 15;

/// The names of the processes that a sidecar forks besides its worker.
const HELPERS: [&str; 2] = ["sidecar-witness", "sidecar-copier"];

/// A flag of a process that is ending: it gives up its namespaces and its descriptors before its state
/// changes (Linux, include/linux/sched.h, PF_EXITING).
const EXITING: u64 = 4;

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// The name, at most 15 bytes.
    pub(super) name: String,
    /// When it was started, in clock ticks after the boot.
    pub(super) start_ticks: u64,
    /// Whether it is stopped by a signal.
    pub(super) stopped: bool,
    /// Whether it has ended or is ending, and its parent has not waited for it yet.
    pub(super) ended: bool,
}

impl Entry {
    /// What it says about a process; none if there is none any more.
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        // The name is in parentheses, and may have some itself.
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // The state is field 3, the flags are field 9, the start time is field 22.
        let flags: u64 = fields.nth(4)?.parse().ok()?;
        let start_ticks = fields.nth(12)?.parse().ok()?;
        let (stopped, ended) = (state == "T", ["Z", "X"].contains(&state) || flags & EXITING != 0);
        Some(Self { pid, parent, name: name.to_owned(), start_ticks, stopped, ended })
    }

    /// Whether it is a process that a sidecar has forked besides its worker.
    pub(super) fn is_helper(&self) -> bool {
        HELPERS.contains(&self.name.as_str())
    }
}

/// Whether the process that started then has ended or is ending. If `/proc` cannot be read now it has not.
pub(super) fn has_ended(pid: u32, start_ticks: u64) -> bool {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => Entry::parse(pid, &stat).is_some_and(|it| it.ended || it.start_ticks != start_ticks),
        Err(error) => error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH),
    }
}

/// The program that sidecars run: this process's, or one that has its name.
pub(super) struct Program {
    /// Device and inode.
    own: Option<(u64, u64)>,
}

impl Program {
    pub(super) fn own() -> Self {
        Self { own: identity("self") }
    }

    /// Whether a process runs it and is no helper.
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        if entry.is_helper() {
            return false;
        }
        let comm = PROGRAM.get(..COMM_BYTES).unwrap_or(PROGRAM);
        // The link of a process of another user cannot be read.
        entry.name == comm
            || fs::read_link(format!("/proc/{}/exe", entry.pid)).is_ok_and(|exe| is_named(exe.as_os_str()))
            || self.own.is_some() && self.own == identity(&entry.pid.to_string())
    }
}

/// Whether an executable has the program's name. A replaced executable ends with " (deleted)".
fn is_named(exe: &OsStr) -> bool {
    let path = exe.as_bytes();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.rsplit(|byte| *byte == b'/').next() == Some(PROGRAM.as_bytes())
}

fn identity(process: &str) -> Option<(u64, u64)> {
    let metadata = fs::metadata(format!("/proc/{process}/exe")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The ids of the processes that can be seen.
pub(super) fn ids() -> io::Result<impl Iterator<Item = u32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The network and the process namespace; none if they may not be examined.
pub(super) fn namespaces(process: &str) -> Option<[PathBuf; 2]> {
    let namespace = |kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
    Some([namespace("net")?, namespace("pid")?])
}

/// The words of a command line; empty if the process has ended.
pub(super) fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The inodes of the sockets that a process has open.
///
/// # Errors
///
/// `PermissionDenied` if its descriptors may not be examined. `NotFound` and others once it has ended.
pub(super) fn sockets(pid: u32) -> io::Result<Vec<u64>> {
    let directory = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let mut inodes = Vec::new();
    for entry in directory.flatten() {
        match fs::read_link(entry.path()) {
            Ok(link) => inodes.extend(inode(link.as_os_str())),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // It was closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(inodes)
}

fn inode(link: &OsStr) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The directory that relative paths of a process start at.
pub(super) fn working_directory(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// The user that a process runs as.
pub(super) fn owner(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).map_or(0, |metadata| metadata.uid())
}

/// The clock ticks of `/proc` in a second.
pub(super) fn ticks_per_second() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    ticks.and_then(|ticks| u64::try_from(ticks).ok()).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_have_parentheses_and_spaces() {
        let rest = "S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 98765 12345 1 18446744073709551615";
        let entry = Entry::parse(42, format!("42 (a) S (b) {rest}").as_bytes()).unwrap();
        let expected = Entry {
            pid: 42,
            parent: 7,
            name: "a) S (b".into(),
            start_ticks: 98765,
            stopped: false,
            ended: false,
        };
        assert_eq!(entry, expected);
        assert!(Entry::parse(42, format!("42 (a) {}", rest.replacen('S', "Z", 1)).as_bytes()).unwrap().ended);
        assert!(
            Entry::parse(42, format!("42 (a) {}", rest.replacen('S', "T", 1)).as_bytes()).unwrap().stopped
        );
        let exiting = rest.replacen("4194560", "4194564", 1);
        assert!(Entry::parse(42, format!("42 (a) {exiting}").as_bytes()).unwrap().ended);
        for broken in ["", "42", "42 (a", "42 (a)", "42 (a) S", "42 (a) S 7 1 2 3"] {
            assert_eq!(Entry::parse(42, broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn the_program_is_known_by_its_name_even_if_it_was_replaced() {
        let is_named = |exe: &str| is_named(OsStr::new(exe));
        assert!(is_named("/usr/bin/telemetry-sidecar") && is_named("/opt/a b/telemetry-sidecar (deleted)"));
        assert!(!is_named("/usr/bin/telemetry-sidecar2") && !is_named("/telemetry-sidecar/sh"));
    }

    #[test]
    fn sockets_are_known_by_their_links() {
        assert_eq!(inode(OsStr::new("socket:[123]")), Some(123));
        for other in ["pipe:[123]", "socket:[x]", "/tmp/socket:[1]", "anon_inode:[eventpoll]"] {
            assert_eq!(inode(OsStr::new(other)), None, "{other}");
        }
    }

    #[test]
    fn this_process_is_found_with_its_command_line_and_its_sockets() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = std::process::id();
        assert!(ids().unwrap().any(|found| found == pid));
        let entry = Entry::read(pid).unwrap();
        assert!(!entry.stopped && !entry.is_helper() && Program::own().is_of(&entry));
        assert_eq!(command_line(pid), std::env::args().collect::<Vec<_>>());
        assert_eq!(working_directory(pid), std::env::current_dir().ok());
        assert!(!sockets(pid).unwrap().is_empty());
        drop(listener);
    }

    #[test]
    fn a_process_has_ended_before_its_parent_waits_for_it_and_when_another_has_its_id() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let start_ticks = Entry::read(pid).unwrap().start_ticks;
        assert!(!has_ended(pid, start_ticks) && has_ended(pid, start_ticks + 1));
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !has_ended(pid, start_ticks) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(has_ended(pid, start_ticks));
    }
}
