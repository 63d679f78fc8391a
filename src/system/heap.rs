//! The heap of static binaries.
//!
//! musl's own maps and unmaps pages for nearly every size: starting a worker takes a hundred system calls
//! more with it, and the kernel fills the pages of each larger buffer with zeros. This one is dlmalloc's,
//! which keeps what is freed. Large buffers have pages of their own, as with musl, and [`Heap::release`]
//! gives the system what the start has used.

use super::memory::PAGE_BYTES;
use dlmalloc::{Allocator, Dlmalloc};
use nix::libc;
use std::{
    alloc::{GlobalAlloc, Layout},
    ptr::{self, null_mut},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// Buffers from this size on have pages of their own, in bytes.
const LARGE_BYTES: usize = 256 * 1024;

/// What the start of a page is aligned to at least, in bytes.
const PAGE_ALIGN: usize = 4096;

/// Buffers of zeros from this size on get new pages, which take no memory until they are used, in bytes.
const MANY_ZEROS: usize = 32 * 1024;

/// The sizes in which free memory is looked for to be released, in bytes.
const FREE_BYTES: [usize; 6] = [128 * 1024, 64 * 1024, 32 * 1024, 16 * 1024, 8 * 1024, 5 * 1024];

/// How many parts of free memory are released at a time.
const MAX_FREE: usize = 64;

/// How far apart buffers are that follow each other, in bytes.
const BETWEEN_BYTES: usize = 16;

/// More than the heap writes at either end of free memory, in bytes.
const END_BYTES: usize = 128;

/// The heap of the program. Tests have heaps of their own.
#[cfg(target_env = "musl")]
mod program {
    use super::Heap;
    use std::sync::atomic::AtomicBool;

    #[global_allocator]
    static HEAP: Heap = Heap::new(&IS_FIXED);
    static IS_FIXED: AtomicBool = AtomicBool::new(false);

    /// See [`Heap::release`].
    pub(in crate::system) fn release() {
        HEAP.release();
    }
}

#[cfg(target_env = "musl")]
pub(super) use program::release;

/// A heap that threads use in turn.
struct Heap {
    inner: Mutex<Dlmalloc<Pages>>,
    /// While this is set it has no more pages and no fewer.
    is_fixed: &'static AtomicBool,
}

impl Heap {
    const fn new(is_fixed: &'static AtomicBool) -> Self {
        Self { inner: Mutex::new(Dlmalloc::new_with_allocator(Pages(is_fixed))), is_fixed }
    }

    fn lock(&self) -> MutexGuard<'_, Dlmalloc<Pages>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the system the pages that nothing uses. To find them, allocates all free memory and frees it.
    fn release(&self) {
        let mut heap = self.lock();
        self.is_fixed.store(true, Relaxed);
        let (mut parts, mut count) = ([(null_mut(), 0); MAX_FREE], 0);
        for size in FREE_BYTES {
            while let Some(part) = parts.get_mut(count) {
                // SAFETY: the size is not zero.
                *part = (unsafe { heap.c_malloc(size) }, size);
                if part.0.is_null() {
                    break;
                }
                count += 1;
            }
        }
        let parts = parts.get_mut(..count).unwrap_or_default();
        parts.sort_unstable();
        for (place, _) in &*parts {
            // SAFETY: it was allocated above.
            unsafe { heap.c_free(*place) };
        }
        // Neighbours have become one part.
        let are_neighbours = |(one, bytes): &(*mut u8, usize), (next, _): &(*mut u8, usize)| {
            next.addr() - one.addr() - bytes <= BETWEEN_BYTES
        };
        for part in parts.chunk_by(are_neighbours) {
            if let ([(first, _), ..], [.., (last, bytes)]) = (part, part) {
                let whole = last.addr() - first.addr() + bytes;
                renew(first.wrapping_add(END_BYTES), whole - 2 * END_BYTES);
            }
        }
        self.is_fixed.store(false, Relaxed);
    }
}

/// Replaces the pages of memory without content by new ones, which have zeros and take no memory until
/// they are used. Returns how many bytes before them and behind them stay as they are: all if the system
/// refuses it.
fn renew(place: *mut u8, bytes: usize) -> (usize, usize) {
    let before = place.align_offset(PAGE_BYTES).min(bytes);
    let renewed = (bytes - before) / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: these pages are within that memory.
    match unsafe { libc::madvise(place.wrapping_add(before).cast(), renewed, libc::MADV_DONTNEED) } {
        0 => (before, bytes - before - renewed),
        _ => (bytes, 0),
    }
}

fn is_large(bytes: usize, align: usize) -> bool {
    bytes >= LARGE_BYTES && align <= PAGE_ALIGN
}

// Inlined into each of their callers they would make the program a tenth larger.
//
// SAFETY: what is large is mapped as long as it is used, and everything else is from an allocator with the
// same contracts, one call at a time.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: as the caller promises.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let bytes = layout.size();
        if is_large(bytes, layout.align()) {
            return map(bytes);
        }
        if bytes < MANY_ZEROS {
            // SAFETY: as the caller promises.
            return unsafe { self.lock().calloc(bytes, layout.align()) };
        }
        // SAFETY: as the caller promises; both ends are within what was allocated.
        unsafe {
            let place = self.lock().malloc(bytes, layout.align());
            if !place.is_null() {
                let (before, behind) = renew(place, bytes);
                place.write_bytes(0, before);
                place.add(bytes - behind).write_bytes(0, behind);
            }
            place
        }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            unmap(place, layout.size());
        } else {
            // SAFETY: as the caller promises.
            unsafe { self.lock().free(place, layout.size(), layout.align()) }
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let is_large = |bytes| is_large(bytes, layout.align());
        match (is_large(layout.size()), is_large(bytes)) {
            (true, true) => remap(place, layout.size(), bytes, libc::MREMAP_MAYMOVE),
            // SAFETY: as the caller promises.
            (false, false) => unsafe { self.lock().realloc(place, layout.size(), layout.align(), bytes) },
            // SAFETY: as the caller promises; the two places do not overlap.
            _ => unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
                if !new.is_null() {
                    ptr::copy_nonoverlapping(place, new, bytes.min(layout.size()));
                    self.dealloc(place, layout);
                }
                new
            },
        }
    }
}

/// Where the heap has its pages from, unless it is fixed.
struct Pages(&'static AtomicBool);

// SAFETY: memory is mapped until it is freed, and has zeros at first.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        (if self.0.load(Relaxed) { null_mut() } else { map(size) }, size, 0)
    }

    fn remap(&self, place: *mut u8, before: usize, after: usize, can_move: bool) -> *mut u8 {
        remap(place, before, after, if can_move { libc::MREMAP_MAYMOVE } else { 0 })
    }

    fn free_part(&self, place: *mut u8, before: usize, after: usize) -> bool {
        !self.0.load(Relaxed) && unmap(place.wrapping_add(after), before - after)
    }

    fn free(&self, place: *mut u8, size: usize) -> bool {
        !self.0.load(Relaxed) && unmap(place, size)
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE_BYTES
    }
}

/// Maps new pages; null if there are none.
fn map(bytes: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: it is where nothing is mapped.
    mapped(unsafe { libc::mmap(null_mut(), bytes, protection, flags, -1, 0) })
}

fn remap(place: *mut u8, before: usize, after: usize, flags: libc::c_int) -> *mut u8 {
    // SAFETY: the heap has mapped it.
    mapped(unsafe { libc::mremap(place.cast(), before, after, flags) })
}

fn mapped(place: *mut libc::c_void) -> *mut u8 {
    if place == libc::MAP_FAILED { null_mut() } else { place.cast() }
}

fn unmap(place: *mut u8, bytes: usize) -> bool {
    // SAFETY: the heap has mapped it, and nothing uses it any more.
    unsafe { libc::munmap(place.cast(), bytes) == 0 }
}

#[cfg(test)]
mod tests;
