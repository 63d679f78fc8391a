//! The child process: started as if by exec, each signal delivered once, its exit status passed on.
//!
//! Apart from stderr being a pipe or a pseudo-terminal, the worker and the process that started the sidecar
//! must not notice the sidecar. Each file implements one part of that and gives the reason for each rule.
//!
//! # Signals
//!
//! The sidecar blocks all signals and reads them from a descriptor (`signals`). For each of them the
//! `supervisor` decides whether the worker got it directly, with the help of the `witness`, a second process
//! in the sidecar's process group, and otherwise passes it on. What the worker gets of a signal that can be
//! caught:
//!
//! | sender            | target                                 | directly | passed on | in total |
//! | ----------------- | -------------------------------------- | -------- | --------- | -------- |
//! | kill, sigqueue    | the sidecar alone                      | 0        | 1 (a)     | 1        |
//! | kill, sigqueue    | the worker alone                       | 1        | 0         | 1        |
//! | killpg            | the group that both share              | 1        | 0         | 1        |
//! | killpg            | the sidecar's group, the worker left it | 0       | 1         | 1        |
//! | terminal key      | the foreground group that both share   | 1        | 0         | 1        |
//! | terminal key      | the sidecar's group, the worker left it | 0       | 0 (b)     | 0        |
//! | terminal hang-up  | the session's leader, if the sidecar is it | 0    | 1 (a)     | 1        |
//! | systemd, `pkill -f` | sidecar, witness and worker in turn  | 1        | 0 (c)     | 1        |
//! | `pkill -f`        | sidecar and witness, not the worker    | 0        | 0 (d)     | 0        |
//! | any               | the sidecar or its group, before the worker exists | 0 | 1 (e) | 1       |
//! | kernel            | the sidecar: an alarm set before the start | 0    | 1 (a)     | 1        |
//! | kernel            | the sidecar: its children, its processor time (h) | 0 | 0 | 0            |
//! | any               | a group that both share, without a witness | 1    | 1 (f)     | 2        |
//!
//! - (a) After 50 ms in which the witness has not got it. At once if there is no witness, or if the worker is
//!   in another group, unless the kernel sent it.
//! - (b) A terminal signals its foreground group. Without the sidecar the worker would not have got it
//!   either.
//! - (c) systemd signals the processes of a control group one after the other, and `pkill -f` all those whose
//!   command line matches. The sidecar's ends with the worker's, and the witness has the sidecar's. Within 50
//!   ms they count as one signal.
//! - (d) A limitation: a pattern that matches only the sidecar's part of the command line, such as its name,
//!   looks like a signal to the group. Use the sidecar's process id or the worker's command line.
//! - (e) The witness has got it and the worker has not. The worker's process compares the two before it
//!   executes the worker, while all signals are blocked. Until the sidecar has blocked them, a signal has its
//!   usual effect on it.
//! - (f) The system refused a process or `/proc`, or the witness was killed or does not answer: twice is
//!   better than never.
//! - (h) SIGCHLD, SIGXCPU, SIGXFSZ, SIGPROF, SIGVTALRM: the worker has its own. The sidecar's limit on
//!   processor time is raised after the worker's start, as far as that is permitted.
//!
//! The same holds if the sidecar is PID 1: its signals are blocked, and the kernel only discards those that
//! are not. Once the worker has ended nothing is passed on; HUP, INT and TERM end the drain, except the
//! sidecar's copy of a signal to the whole unit that ended the worker (`drain`).
//!
//! With `--stop-with-parent` the worker gets a signal when the sidecar's parent has ended (`parent`).
//!
//! While the sidecar starts, signals that end or stop it have their usual effect (`starting`).
//!
//! If the worker's stderr is a pseudo-terminal, a change of the terminal's size is signalled to the group
//! once more when the pseudo-terminal has the new size.
//!
//! Signals that cannot be caught, and stops:
//!
//! | signal | target | effect |
//! | --- | --- | --- |
//! | KILL | the sidecar | the kernel kills worker and witness (`PR_SET_PDEATHSIG`) |
//! | KILL | the group | kills all of them |
//! | KILL | the worker | the sidecar exits with the same status |
//! | STOP | the sidecar | the worker goes on |
//! | STOP | the worker | the sidecar stops, too, so its parent sees it |
//! | TSTP, TTIN, TTOU | the sidecar | passed on; if the worker stops, so does the sidecar |
//! | TSTP, TTIN, TTOU | the group | the worker gets it directly; if it stops, so does the sidecar |
//! | CONT | the sidecar | continues it, the witness and, passed on, the worker; pending stops are dropped |
//! | CONT | the group | continues all of them |
//! | CONT | the worker | the witness continues a sidecar that has stopped with the worker (g) |
//! | CONT | each in turn | continues all of them, in any order |
//!
//! - (g) Not a sidecar that was stopped by a SIGSTOP of its own or of the group. The same when the worker is
//!   killed while both are stopped.
//!
//! A stop of the worker's process before it executes the worker has the same effect as one of the worker
//! (`spawn`).

mod children;
pub(crate) mod copier;
mod devpts;
pub(crate) mod drain;
pub mod end;
pub(crate) mod environment;
pub mod exit;
#[cfg(target_env = "musl")]
mod first_thread;
mod helper;
pub(crate) mod in_place;
mod mask;
mod memory_group;
pub(crate) mod memory_watch;
pub(crate) mod number;
pub(crate) mod parent;
pub(crate) mod pipe;
pub(crate) mod program;
pub(crate) mod pty;
mod report;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod starting;
pub mod startup;
pub mod state;
pub(crate) mod supervisor;
pub mod usage;
pub mod vitals;
mod watch;
pub(crate) mod witness;

pub use end::End;
pub use exit::Exit;
pub use usage::Usage;
