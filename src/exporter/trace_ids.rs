//! Trace and span ids. They are derived from correlation ids by rules that other programs can apply as well.
//!
//! | correlation id | trace id |
//! | --- | --- |
//! | a `traceparent` | the one in it; its parent id is the parent of the trace's outermost spans |
//! | 32 hexadecimal digits, or a UUID | those 16 bytes |
//! | fewer than 8 bytes, or digits only | the first 16 bytes of the SHA-256 of INSTANCE, a zero byte and it |
//! | anything else | the first 16 bytes of its SHA-256 |
//! | none | random, one for each outermost span |
//!
//! INSTANCE is the resource's `service.instance.id`, as text.
//!
//! Short ids and numbers are used by several services and again after a restart. Without the instance they
//! would be one trace for all of them.
//!
//! An all-zero id is invalid, so such a correlation id is hashed. A `trace_id` in the metadata takes
//! precedence ([`trace_context`](super::trace_context)).

use sha2::{Digest as _, Sha256};
use std::{
    fmt::{self, Display, Formatter},
    hash::{BuildHasher as _, RandomState},
};

/// Correlation ids with fewer bytes are not unique beyond one service instance.
const SHORT_BYTES: usize = 8;

/// The trace flag "sampled".
pub const SAMPLED: u8 = 1;

/// A trace's id, never all zeros.
pub type TraceId = [u8; 16];

/// A span's id, never all zeros.
pub type SpanId = [u8; 8];

/// A span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

/// A parsed `traceparent`: <https://www.w3.org/TR/trace-context/#traceparent-header>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// The caller's span.
    pub parent: Context,
    /// The trace flags: [`SAMPLED`] and others.
    pub flags: u8,
}

impl Traceparent {
    /// Reads `version-trace_id-parent_id-flags`. Later versions than 00 may have more after it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (known, rest) = bytes.split_at_checked(55)?;
        let [version @ .., b'-'] = known.get(..3)? else { return None };
        let dashes = [known.get(35)?, known.get(52)?];
        let lower = !known.iter().any(u8::is_ascii_uppercase);
        let ends = match (version, rest) {
            (b"ff", _) => false,
            (_, []) => true,
            (version, [next, ..]) => version != b"00" && *next == b'-',
        };
        if dashes != [&b'-'; 2] || !lower || !ends || hex::<1>(version).is_none() {
            return None;
        }
        let trace_id = known.get(3..35).and_then(hex).filter(|id| *id != [0; 16])?;
        let span_id = known.get(36..52).and_then(hex).filter(|id| *id != [0; 8])?;
        let [flags] = known.get(53..55).and_then(hex)?;
        Some(Self { parent: Context { trace_id, span_id }, flags })
    }
}

/// Version 00 of the format.
impl Display for Traceparent {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Context { trace_id, span_id } = self.parent;
        let [trace_id, span_id] = [u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id).into()];
        write!(formatter, "00-{trace_id:032x}-{span_id:016x}-{:02x}", self.flags)
    }
}

/// The trace id of a correlation id that is not empty and no `traceparent`, in a service instance.
pub fn trace_id(correlation_id: &str, instance: &str) -> TraceId {
    let id = correlation_id.as_bytes();
    let given = hex(id).or_else(|| uuid(id));
    given.filter(|id| *id != [0; 16]).unwrap_or_else(|| {
        let mut hash = Sha256::new();
        if id.len() < SHORT_BYTES || id.iter().all(u8::is_ascii_digit) {
            hash.update(instance);
            hash.update([0]);
        }
        hash.update(id);
        let hash = hash.finalize();
        std::array::from_fn(|index| hash.get(index).copied().unwrap_or_default())
    })
}

/// A valid id in hexadecimal: `N` bytes, not all of them zero.
pub fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex(text.as_bytes()).filter(|id| *id != [0; N])
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid(text: &[u8]) -> Option<TraceId> {
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|dash| text.get(*dash) != Some(&b'-')) {
        return None;
    }
    let mut rest = text.iter().filter(|byte| **byte != b'-');
    let mut digits = [0; 32];
    for digit in &mut digits {
        *digit = *rest.next()?;
    }
    hex(&digits)
}

/// Exactly `N` bytes in hexadecimal.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    // One look at the end: most texts of this length are valid.
    let mut all = 0;
    let bytes = pairs.map(|pair| {
        let [high, low] = pair.map(|digit| DIGITS[usize::from(digit)]);
        all |= high | low;
        high << 4 | low
    });
    (all < 16).then_some(bytes)
}

/// The values of hexadecimal digits; 255 for all other bytes.
const DIGITS: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

/// A generator of random ids.
#[derive(Debug)]
pub struct Random(fastrand::Rng);

impl Default for Random {
    fn default() -> Self {
        // Seeded by the system: thousands of sidecars started at once must not generate the same ids.
        Self(fastrand::Rng::with_seed(RandomState::new().hash_one(std::process::id())))
    }
}

impl Random {
    /// A trace's id.
    pub fn trace_id(&mut self) -> TraceId {
        self.0.u128(1..).to_be_bytes()
    }

    /// A span's id.
    pub fn span_id(&mut self) -> SpanId {
        self.0.u64(1..).to_be_bytes()
    }

    /// A UUID of version 4, as text.
    pub fn uuid(&mut self) -> String {
        let bits = self.0.u128(..) & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let digits = format!("{bits:032x}");
        let group = |from, to| digits.get(from..to).unwrap_or_default();
        [group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32)].join("-")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: TraceId = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    const SPAN: SpanId = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();

    #[test]
    fn a_traceparent_gives_its_ids() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Context { trace_id: TRACE, span_id: SPAN };
        assert_eq!(Traceparent::parse(text), Some(Traceparent { parent, flags: 1 }));
        let later = text.replacen("00", "cc", 1) + "-what-the-future-will-be-like";
        assert_eq!(Traceparent::parse(&later), Some(Traceparent { parent, flags: 1 }));
    }

    #[test]
    fn what_is_no_traceparent_is_not_read_as_one() {
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
        ] {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ids_that_have_16_bytes_are_the_trace_id() {
        assert_eq!(trace_id("0af7651916cd43dd8448eb211c80319c", "i"), TRACE);
        assert_eq!(trace_id("0AF7651916CD43DD8448EB211C80319C", "i"), TRACE);
        assert_eq!(trace_id("0af76519-16cd-43dd-8448-eb211c80319c", "i"), TRACE);
        let digits = 0x1234_5678_9012_3456_7890_1234_5678_9012_u128.to_be_bytes();
        assert_eq!(trace_id("12345678901234567890123456789012", "i"), digits);
    }

    #[test]
    fn every_other_id_is_hashed() {
        // FIPS 180-2, appendix B.2.
        let text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(trace_id(text, "i"), 0x248d_6a61_d206_38b8_e5c0_2693_0c3e_6039_u128.to_be_bytes());
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "0af7651916cd43dd8448eb211c80319",
            "0af7651916cd43dd8448eb211c80319g",
            "0af7-651916cd43dd8448eb211c80319c",
            "abc-defg",
            "ééää",
            "1234567.",
        ] {
            let hash = Sha256::digest(text);
            assert_eq!(trace_id(text, "i"), hash[..16], "{text}");
        }
    }

    #[test]
    fn short_ids_and_numbers_are_hashed_with_the_service_instance() {
        let instance = "2f7c4c4c-5b8f-4d0f-9d6c-0b7b3a5c9e11";
        // printf '2f7c4c4c-5b8f-4d0f-9d6c-0b7b3a5c9e11\0abc' | sha256sum
        assert_eq!(trace_id("abc", instance), 0x1601_8a70_4e57_a42f_098c_e968_aa6e_583e_u128.to_be_bytes());
        for text in
            ["1", "abc", "1234567", "12345678", "1698234567890123456", "00000000000000000000000000000000"]
        {
            let hash = Sha256::digest(format!("{instance}\0{text}"));
            assert_eq!(trace_id(text, instance), hash[..16], "{text}");
            assert_ne!(trace_id(text, instance), trace_id(text, "another"), "{text}");
        }
    }

    #[test]
    fn random_ids_differ_and_a_uuid_says_that_it_is_random() {
        let (mut one, mut other) = (Random::default(), Random::default());
        assert_ne!(one.trace_id(), other.trace_id());
        assert_ne!(one.span_id(), one.span_id());
        let uuid = one.uuid();
        assert!(super::uuid(uuid.as_bytes()).is_some(), "{uuid}");
        assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
}
