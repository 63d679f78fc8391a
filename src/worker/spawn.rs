//! Starting the worker.

mod error;

pub(crate) use error::SpawnError;

use super::{
    children::stop_of,
    environment::ProcessIds,
    mask::Mask,
    number::Number,
    report::{Report, SharedReport},
    startup::{Inherited, keep_others_from_worker},
    witness::Witness,
};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    libc,
    poll::{PollFd, PollFlags, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{Pid, dup2_stderr, getppid, pipe2},
};
use std::{
    ffi::{CString, OsStr, OsString},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    ptr,
    sync::atomic::Ordering::Relaxed,
};

/// Twice the stack that the C library's `execvp` needs for a path and some frames. It also copies the list of
/// words.
const STACK_BYTES: usize = 64 * 1024;

/// Interval of looking whether the child has stopped before it executes the worker, in milliseconds.
const LOOK_MS: u8 = 20;

/// What to run.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    /// The program's name or path, which is the worker's first argument as well.
    pub(crate) program: &'a OsStr,
    /// The other arguments.
    pub(crate) arguments: &'a [OsString],
    /// The worker's end of its stderr.
    pub(crate) stderr: OwnedFd,
}

/// Starts the worker with its stderr on a pipe and everything else as it is here. Returns its process id, and
/// the signals that the witness had got by then and the worker had not: those were sent before the worker
/// existed.
///
/// The worker starts with the signal mask and dispositions that the sidecar inherited, and is killed when the
/// calling thread ends. So this is called from the thread that lives as long as the process.
///
/// The child runs in this process's memory, on a stack of its own, until it executes the worker. Copying the
/// page tables of a process whose threads are just starting would take longer than all the rest. Unlike with
/// `vfork`, this thread can stop meanwhile: a stop signal to the group may stop the child before it executes.
/// An emulator of another processor, as QEMU in a container, refuses such a child. There it has a copy.
///
/// # Errors
///
/// If it could not be started. Nothing runs then.
pub(super) fn spawn(
    command: Command<'_>,
    inherited: &Inherited,
    witness: Option<&Witness>,
) -> Result<(Pid, Mask), SpawnError> {
    let Command { program, arguments, stderr } = command;
    let words = [program].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words: Result<Vec<_>, _> = words.map(|word| CString::new(word.as_bytes())).collect();
    let words = words.map_err(|_| SpawnError::Execute(Errno::EINVAL))?;
    // Closed in the child when it executes the worker or ends.
    let (executed, executing) = pipe2(OFlag::O_CLOEXEC).map_err(SpawnError::Prepare)?;
    let own = Report::default();
    let shared;
    let mut child = Child {
        arguments: words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect(),
        stderr,
        sidecar: Pid::this(),
        inherited,
        process_ids: ProcessIds::find(),
        witness,
        report: &own,
    };
    let mut stack = vec![0_u128; (STACK_BYTES + size_of_val(&child.arguments[..])) / size_of::<u128>()];
    let mut start = |child: &Child<'_>, sharing| {
        let top = stack.as_mut_ptr_range().end.cast();
        let child = ptr::from_ref(child).cast_mut().cast();
        // SAFETY: the child makes system calls on memory that stays as it is until it has executed the
        // worker or ended, which is waited for below, and it does not unwind, since nothing there panics.
        // If it shares this thread's `errno`, no call of this thread fails meanwhile. All signals are blocked
        // until they are what the worker is to have, and none has a handler by then. Its stack is larger than
        // a path, a part of the witness's status and the list of words, which execvp(3) copies.
        Errno::result(unsafe { libc::clone(run_child, top, sharing | libc::SIGCHLD, child) })
    };
    let mut worker = start(&child, libc::CLONE_VM);
    if worker == Err(Errno::EINVAL) {
        shared = SharedReport::new().map_err(SpawnError::Prepare)?;
        child.report = shared.report();
        worker = start(&child, 0);
    }
    drop(executing);
    let worker = worker.map(Pid::from_raw).map_err(SpawnError::Prepare)?;
    wait_until_executed(&executed, worker);
    match child.report.failure.load(Relaxed) {
        0 => Ok((worker, child.report.missed.load(Relaxed))),
        error => {
            let _ = waitpid(worker, None);
            let cause = Errno::from_raw(error);
            Err(if child.report.is_prepared.load(Relaxed) {
                SpawnError::Execute(cause)
            } else {
                SpawnError::Prepare(cause)
            })
        }
    }
}

/// What the child needs.
struct Child<'a> {
    /// The words with their NULs, and a null.
    arguments: Vec<*const libc::c_char>,
    stderr: OwnedFd,
    sidecar: Pid,
    inherited: &'a Inherited,
    process_ids: ProcessIds,
    witness: Option<&'a Witness>,
    report: &'a Report,
}

/// The child's main function. Its return ends the child; the status is not used.
extern "C" fn run_child(child: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `spawn` passes this pointer to a value that it keeps until the child has executed or ended.
    let child = unsafe { &*child.cast_const().cast::<Child<'_>>() };
    if let Err(error) = child.execute() {
        child.report.failure.store(error as i32, Relaxed);
    }
    0
}

impl Child<'_> {
    /// Executes the worker. Returns only if that fails.
    fn execute(&self) -> nix::Result<()> {
        if let Some(witness) = self.witness {
            // All signals are blocked here, so those that this process has got are pending. The witness comes
            // first: a signal that is sent to the group meanwhile is then in both or in this one only.
            let seen = witness.pending();
            self.report.missed.store(seen & !own_pending(), Relaxed);
        }
        self.process_ids.write();
        keep_others_from_worker();
        self.inherited.restore()?;
        dup2_stderr(&self.stderr)?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The sidecar may have died before that took effect. Then this process has another parent.
        if getppid() != self.sidecar {
            return Err(Errno::ESRCH);
        }
        self.report.is_prepared.store(true, Relaxed);
        if let Some(program) = self.arguments.first() {
            // SAFETY: the words are strings with their NULs, and a null follows the last of them. It returns
            // only if it fails.
            unsafe { libc::execvp(*program, self.arguments.as_ptr()) };
        }
        Err(Errno::last())
    }
}

/// Waits until the child has executed the worker or ended, and stops and continues with it.
fn wait_until_executed(executed: &OwnedFd, child: Pid) {
    while poll(&mut [PollFd::new(executed.as_fd(), PollFlags::POLLIN)], LOOK_MS) == Ok(0) {
        if let Some(stop) = stop_of(child) {
            if own_pending() & Number::CONT.bit() == 0 {
                stop.take_default_action();
            }
            // What continued the sidecar may not have continued the child.
            if stop_of(child).is_some() {
                let _ = kill(child, Signal::SIGCONT);
            }
        }
    }
}

/// The blocked signals that this process has got. Async-signal-safe.
pub(super) fn own_pending() -> Mask {
    let mut mask: Mask = 0;
    // SAFETY: the kernel writes its set of 64 signals through the pointer, which is valid for that.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut mask, size_of::<Mask>()) };
    mask
}
