//! What the worker's process reports before it executes the worker.

use nix::{
    libc,
    sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
};
use std::{
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU64},
};

/// Written by the child. The sidecar reads it after the end of a pipe, which orders that, so relaxed atomics
/// are enough.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The system's error; 0 if the worker was executed.
    pub(super) failure: AtomicI32,
    /// What failed then is the execution.
    pub(super) is_prepared: AtomicBool,
    /// The signals that the witness had got and this process had not.
    pub(super) missed: AtomicU64,
}

/// A report in memory that a child with memory of its own shares.
pub(super) struct SharedReport(NonNull<libc::c_void>);

/// Its memory: the kernel takes whole pages.
const BYTES: NonZeroUsize = NonZeroUsize::new(size_of::<Report>()).unwrap();

impl SharedReport {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// Those of mmap(2).
    pub(super) fn new() -> nix::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: it is new memory, which nothing else uses.
        unsafe { mmap_anonymous(None, BYTES, access, MapFlags::MAP_SHARED) }.map(Self)
    }

    /// The report in it.
    pub(super) fn report(&self) -> &Report {
        // SAFETY: the memory is aligned to a page and stays until this is dropped. It has zeros, or what was
        // written through such a reference, and both are valid for these atomics.
        unsafe { self.0.cast().as_ref() }
    }
}

impl Drop for SharedReport {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference to it is left.
        let _ = unsafe { munmap(self.0, BYTES.get()) };
    }
}
