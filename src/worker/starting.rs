//! Signals while the sidecar starts.
//!
//! All signals are blocked from the start, because those that the sidecar keeps for the worker must not get
//! lost. Until the worker is spawned, those that would end or stop the sidecar have their usual effect: at
//! the end of the start, which takes less than a millisecond, or at once where the start may wait, for
//! example for the other end of a FIFO. Then a thread reads them. Signals that were ignored or blocked when
//! the sidecar was started are left for the worker.

use super::{Exit, number::Number, signals::Signals, spawn::own_pending, startup::Inherited};
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
pub(crate) struct Starting {
    shared: Arc<Shared>,
    /// Ends the thread.
    thread: Option<Arc<EventFd>>,
}

struct Shared {
    /// The mask and the dispositions from before the start.
    inherited: Inherited,
    /// What to do before a signal ends the sidecar; none when the start is over. A signal is read under the
    /// lock, so none is read afterwards.
    clean_up: Mutex<Option<CleanUp>>,
}

type CleanUp = Box<dyn FnOnce() + Send>;

impl Starting {
    /// Begins it. `clean_up` is called before a signal ends the sidecar.
    pub(crate) fn begin(signals: &Signals, clean_up: impl FnOnce() + Send + 'static) -> Self {
        let clean_up = Mutex::new(Some(Box::new(clean_up) as CleanUp));
        Self { shared: Arc::new(Shared { inherited: *signals.inherited(), clean_up }), thread: None }
    }

    /// Starts the thread: what follows may wait.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread or a descriptor.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let signals = self.shared.signals()?;
        let (shared, end) = (Arc::clone(&self.shared), Arc::clone(&wake));
        thread::spawn("signals", move || shared.watch(&signals, &end))?;
        self.thread = Some(wake);
        Ok(())
    }

    /// Ends it: from now on signals are for the worker. The thread ends when this is dropped, so whether the
    /// system refuses the worker's process does not depend on how fast it ends.
    pub(crate) fn end(&self) {
        // Mostly none has come, and nothing has to be asked for or opened.
        if own_pending() != 0
            && let Ok(signals) = self.shared.signals()
        {
            self.shared.take_effect(&signals);
        }
        self.shared.clean_up.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = &self.thread {
            // The count is far from its maximum.
            let _ = thread.write(1);
        }
    }
}

impl Shared {
    /// Where those are read that have an effect.
    fn signals(&self) -> nix::Result<SignalFd> {
        let effective = self.inherited.effective_signals();
        SignalFd::with_flags(&effective, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
    }

    /// The thread's main loop, until the start is over.
    fn watch(&self, signals: &SignalFd, end: &EventFd) {
        while self.take_effect(signals) {
            let mut fds = [signals.as_fd(), end.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::NONE);
        }
    }

    /// Stops and continues the process with signals that do that, and ends it with another one. False when
    /// the start is over.
    fn take_effect(&self, signals: &SignalFd) -> bool {
        let mut clean_up = self.clean_up.lock().unwrap_or_else(PoisonError::into_inner);
        if clean_up.is_none() {
            return false;
        }
        while let Ok(Some(info)) = signals.read_signal() {
            let signal = Number(info.ssi_signo.cast_signed());
            if signal.stops() {
                signal.take_default_action();
            } else {
                if let Some(clean_up) = clean_up.take() {
                    clean_up();
                }
                Exit::Signal(signal.0).leave();
            }
        }
        true
    }
}
