//! Starting the worker.

use super::{
    exit::{NOT_EXECUTABLE, NOT_FOUND},
    startup::Inherited,
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid, pipe2, setpgid},
};
use std::{
    env,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
};

/// A worker's stderr: what the sidecar reads, and what the worker writes to.
///
/// Only the end that is read is non-blocking; the worker cannot tell.
///
/// # Errors
///
/// If the system refuses a pipe, or one of that size (in bytes).
pub fn stderr_pipe(size: Option<usize>) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    if let Some(size) = size {
        let size = i32::try_from(size).map_err(|_| nix::errno::Errno::EINVAL)?;
        fcntl(&read, FcntlArg::F_SETPIPE_SZ(size))?;
    }
    Ok((read, write))
}

/// Why a worker did not start.
#[derive(Debug)]
pub struct SpawnError {
    /// What the system says.
    pub cause: io::Error,
}

impl SpawnError {
    /// 127 if there is no such command, else 126.
    pub fn exit_code(&self) -> i32 {
        if self.cause.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
    }
}

/// Snakepit's variable for "lead a process group of your own": workers are killed with all of theirs.
const PROCESS_GROUP: &str = "SNAKEPIT_PROCESS_GROUP";

/// Makes this process's environment what the worker is to inherit, in the order in which it was: without the
/// sidecar's own variables.
///
/// If Snakepit asks the worker to lead a process group, the sidecar does: Snakepit kills the group of the process that
/// it started, so the worker has to be in that, and is told not to leave it.
///
/// # Safety
///
/// There must be no other thread yet.
pub unsafe fn prepare_environment(own: &[String]) {
    // SAFETY: there is no other thread that could read the environment meanwhile.
    unsafe {
        for name in own.iter().filter(|name| env::var_os(name).is_some()) {
            env::remove_var(name);
        }
        if env::var_os(PROCESS_GROUP).is_some_and(|value| value == "1") {
            // A session's leader is refused, and leads a group already.
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            env::set_var(PROCESS_GROUP, "0");
        }
    }
}

/// Starts the worker with its stderr on a pipe and everything else as it is here.
///
/// It gets signals as they were, and is killed when the calling thread ends: so
/// this has to be called from the thread that lives as long as the process.
///
/// # Errors
///
/// If it could not be started; nothing runs then.
pub fn spawn(
    program: &OsString,
    arguments: &[OsString],
    stderr: OwnedFd,
    inherited: Inherited,
) -> Result<Child, SpawnError> {
    let mut command = Command::new(program);
    command.args(arguments).stderr(Stdio::from(stderr));
    let sidecar = Pid::this();
    let prepare = move || {
        inherited.restore()?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The sidecar may have died before that took effect; whoever adopted this process is not it.
        if getppid() == sidecar { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may be called. These are system
    // calls on values made before the fork; errors are built from numbers, without allocation.
    unsafe { command.pre_exec(prepare) };
    command.spawn().map_err(|cause| SpawnError { cause })
}
