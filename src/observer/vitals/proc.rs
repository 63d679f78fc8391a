//! Reads `/proc`, with buffers that are used again. A process may end between any two reads, so what cannot
//! be read is missing and no error, unless the sidecar itself has no descriptors or memory for it.

use super::{
    source::{FileId, Source},
    stat::{self, Memory, Pid, Stat},
};
use crate::system::proc::is_own_proc;
use nix::libc::{EMFILE, ENFILE, ENOMEM};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _},
    mem,
    os::unix::fs::MetadataExt as _,
    path::Path,
};
use xxhash_rust::xxh3::xxh3_64;

/// Room for one read at first: files of one record are shorter.
const BUFFER_BYTES: usize = 8 * 1024;

/// A reader of `/proc`.
#[derive(Debug)]
pub(super) struct Proc {
    path: String,
    buffer: Vec<u8>,
    lists_children: bool,
    /// Whether the size of `/proc/PID/fd` is the number of descriptors, as since Linux 6.2.
    sizes_fds: bool,
    has_failed: bool,
}

impl Proc {
    /// A reader, if `/proc` is there and has the process ids that this process sees.
    pub(super) fn new() -> Option<Self> {
        if !is_own_proc(Path::new("/")) {
            return None;
        }
        let mut proc = Self {
            path: String::new(),
            buffer: vec![0; BUFFER_BYTES],
            // A kernel without CONFIG_PROC_CHILDREN does not have them.
            lists_children: fs::exists("/proc/thread-self/children").unwrap_or(false),
            sizes_fds: fs::metadata("/proc/self/fd").is_ok_and(|fds| fds.size() > 0),
            has_failed: false,
        };
        proc.stat(std::process::id()).map(|_| proc)
    }

    fn read(&mut self, pid: Pid, file: &str) -> Option<&[u8]> {
        self.set_path(pid, file);
        let read = read_record(&self.path, &mut self.buffer);
        self.has_failed |= read.as_ref().is_err_and(is_shortage);
        read.ok()
    }

    /// The entries of the directory at the path.
    fn entries(&mut self) -> impl Iterator<Item = fs::DirEntry> + use<> {
        let entries = fs::read_dir(&self.path);
        self.has_failed |= entries.as_ref().is_err_and(is_shortage);
        entries.into_iter().flatten().flatten()
    }

    /// The memory of a process whose first thread has ended before the others.
    fn memory_of_threads(&mut self, pid: Pid) -> Option<Memory> {
        self.set_path(pid, "task");
        self.entries().find_map(|thread| {
            let file = format!("task/{}/status", thread.file_name().to_str()?);
            self.read(pid, &file).and_then(Memory::parse)
        })
    }

    /// Adds the process ids of the list of children at the path.
    fn add_children(&mut self, children: &mut Vec<Pid>) {
        let added = add_children(&self.path, &mut self.buffer, children);
        self.has_failed |= added.as_ref().is_err_and(is_shortage);
    }

    fn set_path(&mut self, pid: Pid, file: &str) {
        self.path.clear();
        // Writing to a String does not fail.
        let _ = write!(self.path, "/proc/{pid}/{file}");
    }
}

impl Source for Proc {
    fn take_failure(&mut self) -> bool {
        mem::take(&mut self.has_failed)
    }

    fn stat(&mut self, pid: Pid) -> Option<Stat> {
        Stat::parse(self.read(pid, "stat")?)
    }

    fn lists_children(&self) -> bool {
        self.lists_children
    }

    fn children(&mut self, pid: Pid, of_all_threads: bool, children: &mut Vec<Pid>) {
        if !of_all_threads {
            self.set_path(pid, "task");
            let _ = write!(self.path, "/{pid}/children");
            return self.add_children(children);
        }
        self.set_path(pid, "task");
        for thread in self.entries() {
            let name = thread.file_name();
            let Some(name) = name.to_str() else { continue };
            self.set_path(pid, "task");
            let _ = write!(self.path, "/{name}/children");
            self.add_children(children);
        }
    }

    fn all(&mut self, pids: &mut Vec<Pid>) {
        "/proc".clone_into(&mut self.path);
        pids.extend(self.entries().filter_map(|entry| entry.file_name().to_str()?.parse::<Pid>().ok()));
    }

    fn cgroup(&mut self, pid: Pid) -> Option<u64> {
        self.read(pid, "cgroup").map(xxh3_64)
    }

    fn stderr(&mut self, pid: Pid) -> Option<FileId> {
        self.set_path(pid, "fd/2");
        fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino()))
    }

    fn memory(&mut self, pid: Pid) -> Option<Memory> {
        self.read(pid, "status").and_then(Memory::parse).or_else(|| self.memory_of_threads(pid))
    }

    fn fds(&mut self, pid: Pid) -> u64 {
        self.set_path(pid, "fd");
        if self.sizes_fds {
            return fs::metadata(&self.path).map_or(0, |fds| fds.size());
        }
        self.entries().count() as u64
    }

    fn pss_bytes(&mut self, pid: Pid) -> Option<u64> {
        self.read(pid, "smaps_rollup").and_then(stat::pss_bytes)
    }
}

/// Whether the sidecar has no descriptors or no memory.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOMEM))
}

/// Reads a file of `/proc`. One read returns all of a file that has one record, if there is room for it.
fn read_record<'a>(path: &str, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut file = File::open(path)?;
    let mut length = 0;
    loop {
        length += file.read(buffer.get_mut(length..).unwrap_or_default())?;
        if length < buffer.len() {
            return Ok(buffer.get(..length).unwrap_or_default());
        }
        buffer.resize(buffer.len() * 2, 0);
    }
}

/// Adds the process ids of a list of children. Each read ends with a whole one.
fn add_children(path: &str, buffer: &mut [u8], children: &mut Vec<Pid>) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        let length = file.read(buffer)?;
        if length == 0 {
            return Ok(());
        }
        children.extend(buffer.get(..length).into_iter().flat_map(stat::pids));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::fstat;

    #[test]
    fn this_process_is_there_and_one_that_has_ended_is_no_failure() {
        let mut proc = Proc::new().unwrap();
        let own = std::process::id();
        let stderr = fstat(io::stderr()).unwrap();
        assert_eq!(proc.stderr(own), Some((stderr.st_dev, stderr.st_ino)));
        assert!(proc.stat(own).is_some() && proc.memory(own).is_some() && proc.fds(own) > 2);
        // No process has this id.
        let none = Pid::MAX / 4;
        proc.children(none, true, &mut Vec::new());
        proc.children(none, false, &mut Vec::new());
        assert!(proc.stat(none).is_none() && proc.memory(none).is_none() && proc.stderr(none).is_none());
        assert!(!proc.take_failure());
    }

    #[test]
    fn a_shortage_is_a_failure_and_what_may_not_be_seen_is_none() {
        for (errno, expected) in [
            (EMFILE, true),
            (ENFILE, true),
            (ENOMEM, true),
            (nix::libc::EACCES, false),
            (nix::libc::ESRCH, false),
        ] {
            assert_eq!(is_shortage(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
        }
    }
}
