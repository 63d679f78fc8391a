//! Signals while the sidecar starts: resolving a name or opening a FIFO may take long.
//!
//! All signals are blocked from the start, because those that the sidecar keeps for the worker must not get
//! lost. Until the worker is spawned, a thread gives those that would end or stop the sidecar their usual
//! effect. Signals that were ignored or blocked when the sidecar was started are left for the worker.

use super::{Exit, number::Number, signals::Signals};
use crate::system::thread;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        signalfd::{SfdFlags, SignalFd},
    },
};
use std::{
    io,
    os::fd::AsFd as _,
    sync::{Arc, Mutex, PoisonError},
};

/// The time until the worker is spawned.
#[derive(Debug)]
pub(crate) struct Starting(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whether it is over. A signal is read under the lock, so none is read afterwards.
    is_over: Mutex<bool>,
    wake: EventFd,
}

impl Starting {
    /// Starts the thread. It calls `clean_up` before a signal ends the sidecar.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread or a descriptor.
    pub(crate) fn begin(signals: &Signals, clean_up: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let effective = signals.inherited().effective_signals();
        let effective = SignalFd::with_flags(&effective, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Arc::new(Shared { is_over: Mutex::new(false), wake });
        let theirs = Arc::clone(&shared);
        thread::spawn("signals", move || {
            if let Some(signal) = theirs.wait(&effective) {
                clean_up();
                Exit::Signal(signal.0).leave();
            }
        })?;
        Ok(Self(shared))
    }

    /// Ends it: from now on signals are for the worker. The thread ends when this is dropped, so whether the
    /// system refuses the worker's process does not depend on how fast it ends.
    pub(crate) fn end(&self) {
        *self.0.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.end();
        // The count is far from its maximum.
        let _ = self.0.wake.write(1);
    }
}

impl Shared {
    /// Stops and continues the process with signals that do that, and returns one that ends it; none when
    /// the start is over.
    fn wait(&self, signals: &SignalFd) -> Option<Number> {
        loop {
            let mut fds = [signals.as_fd(), self.wake.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::NONE);
            let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
            if *is_over {
                return None;
            }
            let Ok(Some(info)) = signals.read_signal() else { continue };
            let signal = Number(info.ssi_signo.cast_signed());
            if !signal.stops() {
                return Some(signal);
            }
            signal.take_default_action();
        }
    }
}
