//! The environment that the worker inherits.

use nix::{
    libc,
    unistd::{Pid, setpgid},
};
use std::{
    env,
    ffi::{CStr, OsStr},
    io::Write as _,
    ptr::NonNull,
    slice,
};

/// Snakepit's variable that asks a worker to lead a process group: Snakepit kills workers with their whole
/// group.
const PROCESS_GROUP: &str = "SNAKEPIT_PROCESS_GROUP";

/// Shows libraries in the worker that a sidecar reads its stderr: without it they print no telemetry. Another
/// value is replaced, because the worker's stderr is this sidecar's, whatever an outer process set.
const WRAPPED: (&str, &str) = ("TELEMETRY_SIDECAR", "1");

/// systemd's variables with the id of the process that it started. Who reads them expects its own there.
const PROCESS_IDS: [&CStr; 3] = [c"LISTEN_PID", c"WATCHDOG_PID", c"SYSTEMD_EXEC_PID"];

/// Stands for the worker's process id, which only its process knows. No process id is longer.
const PLACEHOLDER: &CStr = c"worker pid";

/// Makes this process's environment what the worker is to inherit, in the order in which it was: without the
/// variables of the sidecar's options, with these changes, with [`WRAPPED`], and with a placeholder for
/// process ids that name the sidecar.
///
/// If Snakepit asks the worker to lead a process group, the sidecar does so instead: Snakepit kills the group
/// of the process that it started, so the worker has to stay in that group, and its variable says so.
///
/// # Safety
///
/// There must be no other thread yet.
pub(crate) unsafe fn prepare(own: &[String], changes: &[(&str, Option<&OsStr>)]) {
    // SAFETY: as the caller promises.
    unsafe { remove(own) };
    let process_id = Pid::this().to_string();
    let names = PROCESS_IDS.iter().filter_map(|name| name.to_str().ok());
    // SAFETY: there is no other thread that could read the environment meanwhile.
    unsafe {
        env::set_var(WRAPPED.0, WRAPPED.1);
        for (name, value) in changes {
            match value {
                Some(value) => env::set_var(name, value),
                None => env::remove_var(name),
            }
        }
        for name in names.filter(|name| env::var_os(name).is_some_and(|value| value == *process_id)) {
            env::set_var(name, PLACEHOLDER.to_string_lossy().as_ref());
        }
        if env::var_os(PROCESS_GROUP).is_some_and(|value| value == "1") {
            // A session's leader is refused, and leads a group already.
            let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
            env::set_var(PROCESS_GROUP, "0");
        }
    }
}

/// Removes variables.
///
/// # Safety
///
/// There must be no other thread yet.
pub(crate) unsafe fn remove(names: &[String]) {
    for name in names.iter().filter(|name| env::var_os(name).is_some()) {
        // SAFETY: there is no other thread that could read the environment meanwhile.
        unsafe { env::remove_var(name) };
    }
}

/// Where the environment has a placeholder.
#[derive(Debug)]
pub(super) struct ProcessIds(Vec<NonNull<u8>>);

impl ProcessIds {
    /// Finds the placeholders. Nothing changes the environment after [`prepare`].
    pub(super) fn find() -> Self {
        let value = |name: &&CStr| {
            // SAFETY: the name is a string with its NUL, and so is the value.
            let value = NonNull::new(unsafe { libc::getenv(name.as_ptr()) })?;
            let is_placeholder = unsafe { CStr::from_ptr(value.as_ptr()) } == PLACEHOLDER;
            is_placeholder.then(|| value.cast())
        };
        Self(PROCESS_IDS.iter().filter_map(value).collect())
    }

    /// Writes this process's id there. It is called in the child, and is async-signal-safe.
    pub(super) fn write(&self) {
        for value in &self.0 {
            // SAFETY: the placeholder is in the environment, which is memory of the heap, and only this
            // process writes there now.
            let mut digits =
                unsafe { slice::from_raw_parts_mut(value.as_ptr(), PLACEHOLDER.to_bytes_with_nul().len()) };
            let _ = write!(digits, "{}\0", Pid::this());
        }
    }
}
