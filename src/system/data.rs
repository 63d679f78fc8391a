//! Global variables of the program and of the C library, which a forked process can do without.
//!
//! Each page of them that either process writes to after the fork is there twice, in hundreds of sidecars.

use nix::{
    libc::{self, Elf64_Phdr, c_int, c_void, dl_phdr_info},
    unistd::{SysconfVar, sysconf},
};
use std::{ffi::CStr, ptr, slice};

/// The program, the C library with its mathematical functions, and the loader.
const MAX_OBJECTS: usize = 4;

/// The writable pages of what is loaded, apart from those that are read-only after the loader's work.
#[derive(Default)]
struct Writable {
    /// Their first and last addresses.
    ranges: [(usize, usize); MAX_OBJECTS],
    count: usize,
    /// Whether something else is loaded, whose functions may be called in place of the C library's.
    has_others: bool,
}

/// Gives the system the pages of global variables, which then have their first values again. It has no effect
/// if another library is loaded, if a sanitizer observes the program, or in a static one, whose `errno` is
/// among these variables.
///
/// # Safety
///
/// The process must have one thread. From now on it may only make system calls: the allocator, the loader and
/// whatever else has a state have lost it.
pub(crate) unsafe fn release() {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|page| usize::try_from(page).ok());
    let Some(page) = page.filter(|_| cfg!(all(target_env = "gnu", not(sanitized)))) else { return };
    let mut writable = Writable::default();
    // SAFETY: `note` gets the pointer to `writable`, which is there until this returns.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut writable).cast()) };
    if writable.has_others {
        return;
    }
    for (start, end) in writable.ranges {
        // At the start may be the pointers through which functions are called (`.got.plt`): a page has room
        // for 500.
        let start = start.next_multiple_of(page) + page;
        let bytes = end.next_multiple_of(page).saturating_sub(start);
        // SAFETY: nothing uses these variables any more, and nothing else is in their pages.
        unsafe { libc::madvise(ptr::without_provenance_mut(start), bytes, libc::MADV_DONTNEED) };
    }
}

/// Notes one object. Returns zero, so that the next one follows.
unsafe extern "C" fn note(object: *mut dl_phdr_info, _: usize, writable: *mut c_void) -> c_int {
    // SAFETY: the loader passes an object, and the pointer that `release` has given it.
    let (object, writable) = unsafe { (&*object, &mut *writable.cast::<Writable>()) };
    // SAFETY: it has this many headers.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    let end = |header: &Elf64_Phdr| address(object, header.p_vaddr + header.p_memsz);
    // Linkers put variables behind what the loader makes read-only, in the same segment or in one of its own.
    let Some(variables) =
        headers.iter().rfind(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0)
    else {
        return 0;
    };
    let read_only = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO).map_or(0, end);
    // SAFETY: it is a string with its NUL.
    let path = unsafe { CStr::from_ptr(object.dlpi_name) }.to_bytes();
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    // The program has no name.
    let is_known = matches!(name, b"" | b"libc.so.6" | b"libm.so.6") || name.starts_with(b"ld-linux");
    match writable.ranges.get_mut(writable.count).filter(|_| is_known) {
        Some(range) => *range = (address(object, variables.p_vaddr).max(read_only), end(variables)),
        None => writable.has_others = true,
    }
    writable.count += 1;
    0
}

fn address(object: &dl_phdr_info, offset: u64) -> usize {
    usize::try_from(object.dlpi_addr + offset).unwrap_or(usize::MAX)
}
