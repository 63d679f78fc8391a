//! Sets of signals as the kernel has them.
//!
//! C libraries keep some real-time signals for themselves, and their functions ignore or hide these: glibc 32
//! and 33, musl 34 as well. With glibc 34 is SIGRTMIN, a signal like any other, which the worker has to get.
//! So the kernel is asked directly.

use nix::{
    errno::Errno,
    libc,
    sys::signal::{SigSet, SigmaskHow},
};
use std::{mem::MaybeUninit, ptr};

/// A set of signals: bit n-1 for signal n.
pub(super) type Mask = u64;

/// All signals except 32 and 33.
pub(super) const ALL: Mask = !(bit(32) | bit(33));

/// The kernel's `struct sigaction` begins with the handler, and is not larger.
pub(super) type Action = [usize; 8];

/// The bit of a signal.
pub(super) const fn bit(signal: i32) -> Mask {
    1u64.wrapping_shl(signal.cast_unsigned().wrapping_sub(1))
}

/// Changes this thread's mask, and returns the one before. Async-signal-safe.
///
/// # Errors
///
/// Those of sigprocmask(2).
pub(super) fn change(how: SigmaskHow, mask: Mask) -> nix::Result<Mask> {
    let mut before: Mask = 0;
    // SAFETY: the kernel reads and writes a set of 64 signals, for which the pointers are valid.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how as libc::c_int,
            &raw const mask,
            &raw mut before,
            size_of::<Mask>(),
        )
    };
    Errno::result(result).map(|_| before)
}

/// The set for functions of the C library that only pass it to the kernel.
pub(super) fn set(mask: Mask) -> SigSet {
    let mut set = *SigSet::empty().as_ref();
    // SAFETY: in both libraries a set is an array of bits, of which the first 64 are the kernel's.
    unsafe {
        (&raw mut set).cast::<Mask>().write(mask);
        SigSet::from_sigset_t_unchecked(set)
    }
}

/// What is done with a signal now.
pub(super) fn handler(signal: i32) -> libc::sighandler_t {
    let mut action = MaybeUninit::zeroed();
    // SAFETY: the action stays. Zeroes are valid in any case.
    unsafe {
        act(signal, None, Some(&mut action));
        action.assume_init()[0]
    }
}

/// Sets a signal's action to the default. Async-signal-safe.
pub(super) fn reset(signal: i32) {
    // SAFETY: the default action runs no handler.
    unsafe { act(signal, Some(&[libc::SIG_DFL; 8]), None) };
}

/// Changes a signal's action, and reads the one before. Async-signal-safe.
///
/// # Safety
///
/// The action is the default one, the kernel's own from before, or has a handler that is async-signal-safe.
pub(super) unsafe fn act(signal: i32, new: Option<&Action>, before: Option<&mut MaybeUninit<Action>>) {
    let new = new.map_or(ptr::null(), ptr::from_ref);
    let before = before.map_or(ptr::null_mut(), MaybeUninit::as_mut_ptr);
    // SAFETY: the kernel reads the new action and writes the one before, each if there is a pointer to one.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, before, size_of::<Mask>()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;

    #[test]
    fn a_set_has_the_signals_of_the_mask() {
        let found = set(bit(libc::SIGTERM) | bit(libc::SIGUSR1));
        assert_eq!(found.iter().collect::<Vec<_>>(), [Signal::SIGUSR1, Signal::SIGTERM]);
        assert_eq!(set(ALL).iter().count(), 31);
    }

    #[test]
    fn a_change_returns_the_mask_before() {
        let before = change(SigmaskHow::SIG_BLOCK, bit(34)).unwrap();
        assert_eq!(change(SigmaskHow::SIG_SETMASK, before), Ok(before | bit(34)));
        assert_eq!(change(SigmaskHow::SIG_BLOCK, 0), Ok(before));
    }
}
