//! Starting the worker.

use super::{
    exit::{NOT_EXECUTABLE, NOT_FOUND},
    startup::Inherited,
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sched::{CloneFlags, clone},
    sys::{prctl, signal::Signal, wait::waitpid},
    unistd::{Pid, dup2_stderr, getppid, pipe2, setpgid},
};
use std::{
    env,
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::PathBuf,
    ptr,
    sync::atomic::{AtomicI32, Ordering},
};

/// What the C library's `execvp` needs of a stack, twice over: a path, and some frames. It also copies the list of words.
const STACK_BYTES: usize = 64 * 1024;

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
        let size = i32::try_from(size).map_err(|_| Errno::EINVAL)?;
        fcntl(&read, FcntlArg::F_SETPIPE_SZ(size))?;
    }
    Ok((read, write))
}

/// Why a worker did not start.
#[derive(Debug, Clone, Copy)]
pub struct SpawnError {
    /// What the system says.
    pub cause: Errno,
}

impl SpawnError {
    /// 127 if there is no such command, else 126.
    pub fn exit_code(self) -> i32 {
        if self.cause == Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE }
    }

    /// What is wrong with this program, in one line.
    pub fn told(self, program: &OsStr) -> String {
        let word = program.display();
        match self.cause {
            Errno::ENOENT => format!("'{word}': {}", missing(program)),
            cause => format!("'{word}': {}", io::Error::from(cause)),
        }
    }
}

/// What is not there: the program, or what it takes to run it. The system says the same of both.
fn missing(program: &OsStr) -> String {
    let is_path = program.as_bytes().contains(&b'/');
    // Where execvp(3) looks without one.
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let found = if is_path {
        Some(PathBuf::from(program)).filter(|path| path.is_file())
    } else {
        let mut places = env::split_paths(&path).map(|folder| folder.join(program));
        places.find(|path| path.is_file())
    };
    let Some(found) = found else {
        return if is_path { io::Error::from(Errno::ENOENT).to_string() } else { "not found in PATH".into() };
    };
    let mut start = [0; 2];
    let is_read = File::open(found).and_then(|mut file| file.read_exact(&mut start)).is_ok();
    let what = if is_read && start == *b"#!" { "its interpreter (#!)" } else { "its loader" };
    format!("{what} is not there")
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
/// As `vfork` and `posix_spawn` do it: the child runs in this process's memory, on a stack of its own, while the calling
/// thread waits until it executes the worker. To copy the page tables of a process whose threads are just starting takes
/// longer than all the rest.
///
/// # Errors
///
/// If it could not be started; nothing runs then.
pub fn spawn(
    program: &OsStr,
    arguments: &[OsString],
    stderr: OwnedFd,
    inherited: Inherited,
) -> Result<Pid, SpawnError> {
    let words = [program].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words: Result<Vec<_>, _> = words.map(|word| CString::new(word.as_bytes())).collect();
    let words = words.map_err(|_| SpawnError { cause: Errno::EINVAL })?;
    let pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
    let sidecar = Pid::this();
    // The system orders all that the child does before what this thread does next, so no more is asked of the atomic.
    let failure = AtomicI32::new(0);

    let execute = || -> nix::Result<()> {
        inherited.restore()?;
        dup2_stderr(&stderr)?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The sidecar may have died before that took effect; whoever adopted this process is not it.
        if getppid() != sidecar {
            return Err(Errno::ESRCH);
        }
        if let Some(program) = pointers.first() {
            // SAFETY: the words are strings with their NULs, and a null follows the last of them. It returns only if
            // it fails.
            unsafe { libc::execvp(*program, pointers.as_ptr()) };
        }
        Err(Errno::last())
    };
    let child = Box::new(|| {
        if let Err(error) = execute() {
            failure.store(error as i32, Ordering::Relaxed);
        }
        // Nobody sees this status.
        0
    });
    let mut stack = vec![0; STACK_BYTES + size_of_val(&pointers[..])];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: the child makes system calls on memory that this thread, which does not run meanwhile, has prepared, and
    // ends by executing the worker or without unwinding, since nothing there panics. All signals are blocked until they
    // are what the worker is to have, and none has a handler by then. Its stack is larger than a path and the list of
    // words, which execvp(3) copies.
    let worker = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) };
    // It is the worker's alone now, so that its end can be seen.
    drop(stderr);
    let worker = worker.map_err(|cause| SpawnError { cause })?;
    match failure.load(Ordering::Relaxed) {
        0 => Ok(worker),
        error => {
            let _ = waitpid(worker, None);
            Err(SpawnError { cause: Errno::from_raw(error) })
        }
    }
}
