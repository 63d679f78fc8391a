//! Pseudo-terminals in a file system of their own, in which no path leads to them.

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    libc,
    sched::{CloneFlags, clone},
    sys::{stat::Mode, wait::waitpid},
    unistd::{getegid, geteuid, write},
};
use std::{
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

/// How a master is opened.
pub(super) const MASTER: OFlag =
    OFlag::O_RDWR.union(OFlag::O_NOCTTY).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

// Constants that the C library's bindings do not have.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;

/// More than a few system calls need.
const STACK_BYTES: usize = 64 * 1024;

/// Opens a master in a file system of its own.
///
/// # Errors
///
/// If the system does not permit that, or is older than Linux 5.2.
pub(super) fn private_master() -> nix::Result<OwnedFd> {
    mount().or_else(|_| in_own_namespaces())
}

/// It takes CAP_SYS_ADMIN.
fn mount() -> nix::Result<OwnedFd> {
    let no_flags: libc::c_uint = 0;
    // SAFETY: the calls take a string with its NUL, null pointers where there is no value, and integers. The
    // descriptors that they return have no other owner.
    let folder = unsafe {
        let system = new_fd(libc::syscall(libc::SYS_fsopen, c"devpts".as_ptr(), FSOPEN_CLOEXEC))?;
        let (number, none) = (system.as_raw_fd(), ptr::null::<libc::c_char>());
        let created = libc::syscall(libc::SYS_fsconfig, number, FSCONFIG_CMD_CREATE, none, none, 0);
        Errno::result(created)?;
        new_fd(libc::syscall(libc::SYS_fsmount, number, FSMOUNT_CLOEXEC, no_flags))?
    };
    openat(folder, "ptmx", MASTER, Mode::empty())
}

/// The descriptor that a system call has returned.
///
/// # Safety
///
/// If it is one, nothing else owns it.
unsafe fn new_fd(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the caller promises that.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Mounts as the root of a user namespace, which many systems permit to every user. A process that shares
/// this one's memory and descriptors does it and ends.
fn in_own_namespaces() -> nix::Result<OwnedFd> {
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1", geteuid())),
        ("/proc/self/gid_map", format!("0 {} 1", getegid())),
    ];
    let mut master = Err(Errno::ECHILD);
    let child = Box::new(|| {
        let written = maps.iter().try_for_each(|(file, text)| {
            let file = open(*file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            write(file, text.as_bytes()).map(drop)
        });
        master = written.and_then(|()| mount());
        // This status is not used.
        0
    });
    let mut stack = vec![0; STACK_BYTES];
    let shared = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | CloneFlags::CLONE_FILES;
    let flags = shared | CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS;
    // SAFETY: this thread does not run until the child has ended, so its memory and its thread-local
    // variables are the child's. The child has a stack of its own, and nothing there panics.
    let process = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }?;
    let _ = waitpid(process, None);
    master
}
