//! Giving back what only the start needed.

use nix::{
    sys::mman::{MmapAdvise, madvise},
    unistd::{SysconfVar, sysconf},
};
use std::ptr::NonNull;

unsafe extern "C" {
    /// Where the program's code and constants begin in memory, and where its code ends: symbols that every linker for ELF
    /// defines (ld(1), "PROVIDE").
    #[link_name = "__executable_start"]
    static START: u8;
    #[link_name = "etext"]
    static END: u8;
}

/// Drops the program's code and constants from memory: most of what is there parsed the command line and started threads.
/// What is needed again comes back from the system's cache of the file. It is half of what an idle sidecar has resident,
/// and there are thousands.
pub fn give_back_program() {
    let Ok(Some(page)) = sysconf(SysconfVar::PAGE_SIZE) else { return };
    let Ok(page) = usize::try_from(page) else { return };
    // Addresses alone: nothing is read.
    let (start, end) = (&raw const START, &raw const END);
    let first = start.addr().next_multiple_of(page);
    let length = end.addr().saturating_sub(first) / page * page;
    let Some(first) = NonNull::new(start.with_addr(first).cast_mut().cast()) else { return };
    // SAFETY: these pages are the file's own, mapped without leave to write (code, constants, what the linker says of
    // them), so that they read the same when they come back. Relocated data lies behind the code.
    let _ = unsafe { madvise(first, length, MmapAdvise::MADV_DONTNEED) };
}
