//! Reads `/proc`, with buffers that are used again. A process may end between any two reads, so what cannot
//! be read is missing and no error.

use super::{
    source::Source,
    stat::{self, Memory, Pid, Stat},
};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
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
}

impl Proc {
    /// A reader, if `/proc` is there.
    pub(super) fn new() -> Option<Self> {
        let mut proc = Self {
            path: String::new(),
            buffer: vec![0; BUFFER_BYTES],
            // A kernel without CONFIG_PROC_CHILDREN does not have them.
            lists_children: fs::exists("/proc/thread-self/children").unwrap_or(false),
            sizes_fds: fs::metadata("/proc/self/fd").is_ok_and(|fds| fds.size() > 0),
        };
        proc.stat(std::process::id()).map(|_| proc)
    }

    fn read(&mut self, pid: Pid, file: &str) -> Option<&[u8]> {
        self.set_path(pid, file);
        read_record(&self.path, &mut self.buffer)
    }

    fn set_path(&mut self, pid: Pid, file: &str) {
        self.path.clear();
        // Writing to a String does not fail.
        let _ = write!(self.path, "/proc/{pid}/{file}");
    }
}

impl Source for Proc {
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
            add_children(&self.path, &mut self.buffer, children);
            return;
        }
        self.set_path(pid, "task");
        let Ok(threads) = fs::read_dir(&self.path) else { return };
        for thread in threads.flatten() {
            let name = thread.file_name();
            let Some(name) = name.to_str() else { continue };
            self.set_path(pid, "task");
            let _ = write!(self.path, "/{name}/children");
            add_children(&self.path, &mut self.buffer, children);
        }
    }

    fn all(&mut self, pids: &mut Vec<Pid>) {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        pids.extend(entries.filter_map(|entry| entry.file_name().to_str()?.parse::<Pid>().ok()));
    }

    fn cgroup(&mut self, pid: Pid) -> Option<u64> {
        self.read(pid, "cgroup").map(xxh3_64)
    }

    fn memory(&mut self, pid: Pid) -> Memory {
        self.read(pid, "status").map(Memory::parse).unwrap_or_default()
    }

    fn fds(&mut self, pid: Pid) -> u64 {
        self.set_path(pid, "fd");
        if self.sizes_fds {
            return fs::metadata(&self.path).map_or(0, |fds| fds.size());
        }
        fs::read_dir(&self.path).map_or(0, |fds| fds.count() as u64)
    }

    fn pss_bytes(&mut self, pid: Pid) -> Option<u64> {
        self.read(pid, "smaps_rollup").and_then(stat::pss_bytes)
    }
}

/// Reads a file of `/proc`. One read returns all of a file that has one record, if there is room for it.
fn read_record<'a>(path: &str, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let mut file = File::open(path).ok()?;
    let mut length = 0;
    loop {
        length += file.read(buffer.get_mut(length..)?).ok()?;
        if length < buffer.len() {
            return buffer.get(..length);
        }
        buffer.resize(buffer.len() * 2, 0);
    }
}

/// Adds the process ids of a list of children. Each read ends with a whole one.
fn add_children(path: &str, buffer: &mut [u8], children: &mut Vec<Pid>) {
    let Ok(mut file) = File::open(path) else { return };
    while let Ok(length @ 1..) = file.read(buffer) {
        children.extend(buffer.get(..length).into_iter().flat_map(stat::pids));
    }
}
