//! The C library's functions that copy memory, for static binaries: those of musl take several times as long
//! for the few bytes of a name or a value, of which the decoder copies many.
//!
//! There is no loop in them: the compiler would make calls of the same functions of it.

use std::arch::x86_64::__m128i;

/// As C defines it.
///
/// # Safety
///
/// As in C.
#[cfg(target_env = "musl")]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: as the caller promises.
    unsafe { copy(to, from, count) };
    to
}

/// As C defines it.
///
/// # Safety
///
/// As in C.
#[cfg(target_env = "musl")]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: as the caller promises.
    unsafe { copy(to, from, count) };
    to
}

/// Copies bytes to a place that may overlap.
///
/// # Safety
///
/// The bytes can be read, and written there.
#[inline]
unsafe fn copy(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: none of these goes beyond `count`, as the caller promises for it. All that is read is read
    // before anything is written.
    unsafe {
        match count {
            0 => {}
            1..2 => to.write(from.read()),
            2..4 => ends::<u16>(to, from, count),
            4..8 => ends::<u32>(to, from, count),
            8..16 => ends::<u64>(to, from, count),
            16..32 => ends::<__m128i>(to, from, count),
            32..64 => ends::<[__m128i; 2]>(to, from, count),
            64..=128 => ends::<[__m128i; 4]>(to, from, count),
            _ => long(to, from, count),
        }
    }
}

/// Copies the first and the last bytes, which together are all.
///
/// # Safety
///
/// As for [`copy`]. `count` is from the size of `T` to twice the size.
#[inline]
unsafe fn ends<T: Copy>(to: *mut u8, from: *const u8, count: usize) {
    let last = count - size_of::<T>();
    // SAFETY: as the caller promises.
    unsafe {
        let first_bytes = from.cast::<T>().read_unaligned();
        let last_bytes = from.add(last).cast::<T>().read_unaligned();
        to.cast::<T>().write_unaligned(first_bytes);
        to.add(last).cast::<T>().write_unaligned(last_bytes);
    }
}

/// Copies with the processor's own loop.
///
/// # Safety
///
/// As for [`copy`]; `count` is not 0.
#[inline]
unsafe fn long(to: *mut u8, from: *const u8, count: usize) {
    // Forwards it would overwrite what it has not read yet.
    let is_backward = to.addr().wrapping_sub(from.addr()) < count;
    // SAFETY: as the caller promises. The direction flag is as it was afterwards.
    unsafe {
        if is_backward {
            std::arch::asm!(
                "std", "rep movsb", "cld",
                inout("rcx") count => _,
                inout("rdi") to.add(count - 1) => _,
                inout("rsi") from.add(count - 1) => _,
                options(nostack)
            );
        } else {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") count => _,
                inout("rdi") to => _,
                inout("rsi") from => _,
                options(nostack, preserves_flags)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with the standard library for all sizes and distances, overlapping ones too.
    #[test]
    fn it_copies_as_the_standard_library_does() {
        let original: Vec<u8> = (0..1200_u32).map(|number| (number % 251) as u8).collect();
        for count in (0..300).chain([400, 511, 512, 513]) {
            for (from, to) in [(0, 600), (600, 0), (300, 300), (300, 301), (301, 300), (300, 316), (340, 300)]
            {
                let (mut copied, mut expected) = (original.clone(), original.clone());
                expected.copy_within(from..from + count, to);
                // SAFETY: both ranges are within the vector.
                unsafe { copy(copied.as_mut_ptr().add(to), copied.as_ptr().add(from), count) };
                assert_eq!(copied, expected, "{count} bytes from {from} to {to}");
            }
        }
    }
}
