//! Has musl do what it does when a program asks for its first thread.
//!
//! It unblocks signal 34, which it may need for itself. That is blocked because the worker has to get it: one
//! that comes in this moment would end the sidecar.

use super::mask::{self, Action};
use nix::{libc, sys::signal::SigmaskHow};
use std::{
    ffi::c_void,
    mem::MaybeUninit,
    process, ptr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// musl's signal for calls that all threads have to make.
const SIGNAL: i32 = 34;

/// The flag of an action that says what its handler returns to. The libc crate does not have it for musl.
#[cfg(target_arch = "x86_64")]
const SA_RESTORER: usize = 0x0400_0000;

/// How often the signal has come.
static CAME: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    CAME.fetch_add(1, Relaxed);
}

// Where a handler returns to, as x86_64 needs it: rt_sigreturn(2).
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!("sidecar_handler_returns:", "mov eax, 15", "syscall");

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    fn sidecar_handler_returns();
}

/// The largest stack that musl takes. No address space has room for it.
const TOO_LARGE_BYTES: usize = usize::MAX / 4;

/// Asks for a thread, and blocks all signals again. Signals 34 that came meanwhile are pending, as if they
/// had been blocked all the time; this process is their sender.
///
/// # Errors
///
/// Those of the system calls.
pub(super) fn start() -> nix::Result<()> {
    let mut before = MaybeUninit::<Action>::zeroed();
    // SAFETY: the handler only counts. Where it has an address to return to, what is there returns.
    unsafe { mask::act(SIGNAL, Some(&action()), Some(&mut before)) };
    ask();
    mask::change(SigmaskHow::SIG_BLOCK, mask::ALL)?;
    // SAFETY: the kernel has written this action, or it is the default one.
    unsafe { mask::act(SIGNAL, Some(&before.assume_init()), None) };
    for _ in 0..CAME.load(Relaxed) {
        // SAFETY: kill takes two integers.
        unsafe { libc::kill(process::id().cast_signed(), SIGNAL) };
    }
    Ok(())
}

/// Asks for a thread that is refused: to start one and to wait for its end takes a tenth of a millisecond.
fn ask() {
    extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
        ptr::null_mut()
    }
    let (mut attributes, mut thread) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the attributes are valid once they are initialized. What the thread would run does nothing.
    unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), TOO_LARGE_BYTES);
        libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), nothing, ptr::null_mut());
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
    }
}

/// The kernel's `struct sigaction`: handler, flags, what a handler returns to, mask. Without
/// `SA_RESTORER` a handler returns to what the kernel has for that; for x86_64 it has nothing.
fn action() -> Action {
    let handler = count as extern "C" fn(libc::c_int) as usize;
    let restart = libc::SA_RESTART as usize;
    #[cfg(target_arch = "x86_64")]
    return [handler, restart | SA_RESTORER, sidecar_handler_returns as *const () as usize, 0, 0, 0, 0, 0];
    #[cfg(not(target_arch = "x86_64"))]
    return [handler, restart, 0, 0, 0, 0, 0, 0];
}
