//! Times in lines, where they are unambiguous.

use jiff::Timestamp;

/// An RFC 3339 time with an offset (`2026-11-21T09:50:51.25Z`, `2026-11-21 09:50:51+01:00`), in nanoseconds
/// since 1970. A time without an offset gives `None`.
pub(super) fn of_text(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let has_date = matches!(bytes, [_, _, _, _, b'-', _, _, b'-', _, _, b'T' | b' ', ..]);
    if !has_date || !bytes.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let has_offset = text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    let time: Timestamp = if has_offset { text.parse().ok()? } else { return None };
    i64::try_from(time.as_nanosecond()).ok()
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970, as far as they can be
/// distinguished: times from 2001 to 2286.
pub(super) fn of_integer(number: i64) -> Option<i64> {
    let factor = match number {
        1_000_000_000..10_000_000_000 => 1_000_000_000,
        1_000_000_000_000..10_000_000_000_000 => 1_000_000,
        1_000_000_000_000_000..10_000_000_000_000_000 => 1_000,
        1_000_000_000_000_000_000.. => 1,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// A number with a fraction; see [`of_integer`].
#[allow(clippy::cast_possible_truncation, reason = "in the range of integers")]
pub(super) fn of_float(number: f64) -> Option<i64> {
    // Nanoseconds are rounded to microseconds: a float does not have more.
    if (1e9..1e10).contains(&number) {
        ((number * 1e6).round() as i64).checked_mul(1000)
    } else if (1e12..1e13).contains(&number) {
        ((number * 1e3).round() as i64).checked_mul(1000)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i64 = 1_795_254_651_250_000_000;

    #[test]
    fn times_with_an_offset_are_unambiguous() {
        for text in [
            "2026-11-21T09:50:51.25Z",
            "2026-11-21 09:50:51.25Z",
            "2026-11-21T10:50:51.250+01:00",
            "2026-11-21T08:20:51.250-01:30",
            "2026-11-21T09:50:51.25+0000",
        ] {
            assert_eq!(of_text(text), Some(TIME), "{text}");
        }
        for text in [
            "",
            "2026-11-21T09:50:51.25",
            "2026-11-21",
            "2026-13-21T09:50:51Z",
            "x026-11-21T09:50:51Z",
            "9999Z",
        ] {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    #[test]
    fn the_unit_of_a_number_follows_from_its_size() {
        assert_eq!(of_integer(1_795_254_651), Some(1_795_254_651_000_000_000));
        assert_eq!(of_integer(1_795_254_651_250), Some(TIME));
        assert_eq!(of_integer(1_795_254_651_250_000), Some(TIME));
        assert_eq!(of_integer(TIME), Some(TIME));
        assert_eq!(of_float(1_795_254_651.25), Some(TIME));
        assert_eq!(of_float(1_795_254_651_250.0), Some(TIME));
        assert_eq!(
            (of_integer(7), of_integer(-1), of_float(0.5), of_float(f64::NAN)),
            (None, None, None, None)
        );
    }
}
