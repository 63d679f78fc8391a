//! The C library's functions that compare memory, for static binaries.
//!
//! Those of musl compare byte by byte, and each event's names are compared several times. This one compares
//! up to 16 bytes at a time, at the end some of them twice.

use std::arch::global_asm;

global_asm!(
    ".globl sidecar_compare",
    ".type sidecar_compare, @function",
    "sidecar_compare:",
    "cmp rdx, 16",
    "jae 16f",
    "cmp edx, 8",
    "jae 8f",
    "cmp edx, 4",
    "jae 4f",
    "xor eax, eax",
    "test edx, edx",
    "jz 3f",
    // Up to 3 bytes.
    "2:",
    "movzx eax, byte ptr [rdi]",
    "movzx ecx, byte ptr [rsi]",
    "sub eax, ecx",
    "jne 3f",
    "inc rdi",
    "inc rsi",
    "dec edx",
    "jnz 2b",
    "3: ret",
    // Up to 7 bytes: the first four and the last four.
    "4:",
    "mov eax, [rdi]",
    "mov ecx, [rsi]",
    "cmp eax, ecx",
    "jne 9f",
    "mov eax, [rdi + rdx - 4]",
    "mov ecx, [rsi + rdx - 4]",
    "cmp eax, ecx",
    "jne 9f",
    "xor eax, eax",
    "ret",
    // Up to 15 bytes: the first eight and the last eight.
    "8:",
    "mov rax, [rdi]",
    "mov rcx, [rsi]",
    "cmp rax, rcx",
    "jne 9f",
    "mov rax, [rdi + rdx - 8]",
    "mov rcx, [rsi + rdx - 8]",
    "cmp rax, rcx",
    "jne 9f",
    "xor eax, eax",
    "ret",
    // They differ: the first byte decides.
    "9:",
    "bswap rax",
    "bswap rcx",
    "cmp rax, rcx",
    "sbb eax, eax",
    "or eax, 1",
    "ret",
    // Sixteen bytes at a time; the last sixteen begin at rdx.
    "16:",
    "sub rdx, 16",
    "xor ecx, ecx",
    "17:",
    "movdqu xmm0, [rdi + rcx]",
    "movdqu xmm1, [rsi + rcx]",
    "pcmpeqb xmm0, xmm1",
    "pmovmskb eax, xmm0",
    "xor eax, 0xffff",
    "jnz 18f",
    "cmp rcx, rdx",
    "je 19f",
    "add rcx, 16",
    "cmp rcx, rdx",
    "cmova rcx, rdx",
    "jmp 17b",
    "18:",
    "bsf eax, eax",
    "add rcx, rax",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx ecx, byte ptr [rsi + rcx]",
    "sub eax, ecx",
    "19: ret",
    ".size sidecar_compare, . - sidecar_compare",
);

#[cfg(target_env = "musl")]
global_asm!(".globl memcmp", ".set memcmp, sidecar_compare", ".globl bcmp", ".set bcmp, sidecar_compare");

#[cfg(test)]
mod tests {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn sidecar_compare(one: *const u8, other: *const u8, count: usize) -> c_int;
    }

    /// Compares with the standard library for all sizes, places and values of the first byte that differs.
    #[test]
    fn it_compares_as_the_standard_library_does() {
        let one: Vec<u8> = (0..=250).cycle().take(100).collect();
        for count in 0..100 {
            for place in 0..100 {
                for by in [1, 0x7f, 0x80, 0xff] {
                    let mut other = one.clone();
                    other[place] = other[place].wrapping_add(by);
                    // What follows differs the other way.
                    let opposite = if one[place] < other[place] { 0 } else { u8::MAX };
                    other[place + 1..].fill(opposite);
                    for (one, other) in [(&one, &other), (&other, &one)] {
                        // SAFETY: both are at least this long.
                        let found = unsafe { sidecar_compare(one.as_ptr(), other.as_ptr(), count) };
                        assert_eq!(
                            found.cmp(&0),
                            one[..count].cmp(&other[..count]),
                            "{count} bytes, {place}"
                        );
                    }
                }
            }
        }
    }
}
