//! What stderr's reader has not taken when the sidecar is to end.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::{
    io::IoSlice,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Ends the waiting for stderr's reader. Ordinary bytes that it has not taken by then are kept, in order, for
/// a process that outlives the sidecar.
#[derive(Debug)]
pub struct Leftover {
    stop: EventFd,
    is_used: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

impl Leftover {
    /// Without bytes.
    ///
    /// # Errors
    ///
    /// If the system refuses a descriptor.
    pub fn new() -> nix::Result<Self> {
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { stop, is_used: AtomicBool::new(false), bytes: Mutex::default() })
    }

    /// Ends the waiting, for good.
    pub fn stop_waiting(&self) {
        // It fails only if the count is at its maximum, and then it is readable anyway.
        let _ = self.stop.write(1);
    }

    /// Readable from the end of the waiting on.
    pub(super) fn stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Whether bytes were kept. Then all later ones have to be kept as well.
    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// Keeps bytes, and returns how many they are.
    pub(super) fn keep(&self, slices: &[IoSlice<'_>]) -> u64 {
        self.is_used.store(true, Ordering::Relaxed);
        let mut bytes = self.lock();
        let before = bytes.len();
        for slice in slices {
            bytes.extend_from_slice(slice);
        }
        (bytes.len() - before) as u64
    }

    /// Takes what was kept, once no more ordinary bytes come.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
