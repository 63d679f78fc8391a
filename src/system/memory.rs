//! Keeps a sidecar's own memory small: hundreds of them may run on a host.

use nix::libc;

/// A page of memory, or a multiple of it: aarch64 has kernels with pages of 4, 16 and 64 KiB.
pub(super) const PAGE_BYTES: usize = if cfg!(target_arch = "x86_64") { 4096 } else { 64 * 1024 };

/// More than the stack of parsing the command line, or of starting the server.
const STACK_BYTES: usize = 128 * 1024;

/// Makes all threads allocate from one heap. With heaps of their own, each maps and unmaps 128 MB at its
/// start, and does not reuse what the start has freed. Few threads allocate at the same time.
pub(crate) fn share_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes integers.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the system what the start has used and nothing uses any more: pages of the heap, and of the
/// [stack](release_stack).
pub(crate) fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes an integer.
    unsafe {
        libc::malloc_trim(0);
    }
    #[cfg(target_env = "musl")]
    super::heap::release();
    release_stack();
}

/// Gives the system the pages of the calling thread's stack that earlier and deeper calls have used. The
/// thread is the first, or one that [`thread`](super::thread) has started.
pub(crate) fn release_stack() {
    let here = stack_pointer();
    if here == 0 {
        return;
    }
    // The frames of this function and of the calls in it are in the pages above.
    let end = (here & !(PAGE_BYTES - 1)).saturating_sub(PAGE_BYTES);
    // SAFETY: nothing is on the stack below the current frame. Below the first thread's stack Linux maps
    // nothing for 128 MB, and it skips pages that are not mapped; the stack of another thread has room for
    // many times as much below the frames of its start.
    unsafe {
        let start = std::ptr::without_provenance_mut(end.saturating_sub(STACK_BYTES));
        libc::madvise(start, STACK_BYTES, libc::MADV_DONTNEED);
    }
}

/// Where this thread's stack ends now; 0 if that is not known. A local variable need not be on the stack:
/// with AddressSanitizer some are not.
#[cfg(target_arch = "x86_64")]
fn stack_pointer() -> usize {
    let here;
    // SAFETY: it copies a register.
    unsafe { std::arch::asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    here
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer() -> usize {
    let here;
    // SAFETY: it copies a register.
    unsafe { std::arch::asm!("mov {}, sp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    here
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn stack_pointer() -> usize {
    0
}
