//! Where processes are looked up: `/proc`, or a simulation in tests.

use super::stat::{Memory, Pid, Stat};

/// Device and inode of a file.
pub(super) type FileId = (u64, u64);

/// Looks processes up. What has ended, or cannot be read, is missing.
pub(super) trait Source {
    /// Whether something is missing since the last call that may be there: descriptors or memory ran out.
    fn take_failure(&mut self) -> bool;

    /// The state of a process.
    fn stat(&mut self, pid: Pid) -> Option<Stat>;

    /// Whether the system lists the children of a process.
    fn lists_children(&self) -> bool;

    /// Adds the children that a process has: those of its first thread, or of all its threads.
    fn children(&mut self, pid: Pid, of_all_threads: bool, children: &mut Vec<Pid>);

    /// Adds all processes of the system.
    fn all(&mut self, pids: &mut Vec<Pid>);

    /// A fingerprint of the control groups of a process.
    fn cgroup(&mut self, pid: Pid) -> Option<u64>;

    /// What the stderr of a process is, if it can be read.
    fn stderr(&mut self, pid: Pid) -> Option<FileId>;

    /// The memory of a process; none if it has ended.
    fn memory(&mut self, pid: Pid) -> Option<Memory>;

    /// How many descriptors a process has open; zero if that is not known.
    fn fds(&mut self, pid: Pid) -> u64;

    /// The proportional set size of a process, in bytes.
    fn pss_bytes(&mut self, pid: Pid) -> Option<u64>;
}
