//! The C library's functions that copy memory, for static binaries.
//!
//! Those of musl loop with `rep movs`, which takes many times as long as the few bytes of a name or a value
//! need, and the decoder copies many of these. This one reads up to 128 bytes into registers before it writes
//! any, so that the places may overlap: `memcpy` and `memmove` are the same. It is in assembly because a
//! compiler makes calls of `memcpy` out of Rust code that copies.

use std::arch::global_asm;

global_asm!(
    ".globl sidecar_copy",
    ".type sidecar_copy, @function",
    "sidecar_copy:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jae 16f",
    // Up to 15 bytes: the first and the last ones, which may overlap.
    "cmp edx, 8",
    "jae 8f",
    "cmp edx, 4",
    "jae 4f",
    "cmp edx, 2",
    "jae 2f",
    "test edx, edx",
    "jz 3f",
    "mov cl, [rsi]",
    "mov [rdi], cl",
    "3: ret",
    "2:",
    "mov cx, [rsi]",
    "mov r8w, [rsi + rdx - 2]",
    "mov [rdi], cx",
    "mov [rdi + rdx - 2], r8w",
    "ret",
    "4:",
    "mov ecx, [rsi]",
    "mov r8d, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], r8d",
    "ret",
    "8:",
    "mov rcx, [rsi]",
    "mov r8, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], r8",
    "ret",
    // Up to 32 bytes.
    "16:",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "cmp rdx, 32",
    "ja 32f",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    // Up to 64 bytes.
    "32:",
    "movups xmm2, [rsi + 16]",
    "movups xmm3, [rsi + rdx - 32]",
    "cmp rdx, 64",
    "ja 64f",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm2",
    "movups [rdi + rdx - 32], xmm3",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    // Up to 128 bytes.
    "64:",
    "cmp rdx, 128",
    "ja 128f",
    "movups xmm4, [rsi + 32]",
    "movups xmm5, [rsi + 48]",
    "movups xmm6, [rsi + rdx - 64]",
    "movups xmm7, [rsi + rdx - 48]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm2",
    "movups [rdi + 32], xmm4",
    "movups [rdi + 48], xmm5",
    "movups [rdi + rdx - 64], xmm6",
    "movups [rdi + rdx - 48], xmm7",
    "movups [rdi + rdx - 32], xmm3",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    "128:",
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "mov rcx, rdx",
    "jb 129f",
    "rep movsb",
    "ret",
    // Forwards it would overwrite what it has not read yet.
    "129:",
    "lea rdi, [rdi + rdx - 1]",
    "lea rsi, [rsi + rdx - 1]",
    "std",
    "rep movsb",
    "cld",
    "ret",
    ".size sidecar_copy, . - sidecar_copy",
);

#[cfg(target_env = "musl")]
global_asm!(".globl memcpy", ".set memcpy, sidecar_copy", ".globl memmove", ".set memmove, sidecar_copy",);

#[cfg(test)]
mod tests {
    unsafe extern "C" {
        fn sidecar_copy(to: *mut u8, from: *const u8, count: usize) -> *mut u8;
    }

    /// Compares with the standard library for all sizes and distances, overlapping ones too.
    #[test]
    fn it_copies_as_the_standard_library_does() {
        let original: Vec<u8> = (0..=250).cycle().take(1200).collect();
        for count in (0..300).chain([400, 511, 512, 513]) {
            for (from, to) in [(0, 600), (600, 0), (300, 300), (300, 301), (301, 300), (300, 316), (340, 300)]
            {
                let (mut copied, mut expected) = (original.clone(), original.clone());
                expected.copy_within(from..from + count, to);
                let place = copied.as_mut_ptr();
                // SAFETY: both ranges are within the vector.
                let returned = unsafe { sidecar_copy(place.add(to), place.add(from), count) };
                assert_eq!(returned.addr(), place.addr() + to, "{count} bytes from {from} to {to}");
                assert_eq!(copied, expected, "{count} bytes from {from} to {to}");
            }
        }
    }
}
