//! Does what the command line says, and exits with the right status.
//!
//! `main` is the C library's: see `worker::startup`.

#![no_main]

use std::{
    ffi::{CStr, OsStr, c_char, c_int},
    os::unix::ffi::OsStrExt as _,
    panic::catch_unwind,
    slice,
};
use telemetry_sidecar::{
    app,
    system::log,
    worker::{Exit, exit::FAILED, startup::take_over},
};

// SAFETY: the C library calls the function with this name and signature.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    take_over();
    // SAFETY: the system passes this many words, which are strings with their NULs.
    let words = unsafe { slice::from_raw_parts(words, usize::try_from(count).unwrap_or(0)) };
    // SAFETY: as before: each is a string with its NUL.
    let words = words.iter().map(|word| unsafe { CStr::from_ptr(*word) }.to_bytes());
    let words: Vec<_> = words.map(|word| OsStr::from_bytes(word).to_owned()).collect();
    // A panic has been reported where it happened.
    let exit = catch_unwind(|| app::run(words)).unwrap_or(Ok(Exit::Code(FAILED)));
    exit.unwrap_or_else(|what| {
        log::error_line(what);
        Exit::Code(FAILED)
    })
    .leave()
}
