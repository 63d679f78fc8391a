//! Numbers for people. Every form has few characters, so that it fits the cell of a table.

use std::time::Duration;

/// More are no bytes, whatever the key says.
const MAX_BYTES: f64 = 1e21;

/// Ten years: more are no duration but a point in time, whatever the key says.
const MAX_SECONDS: f64 = 10.0 * 365.25 * 86400.0;

/// A count with thousands separators: `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 event`, `1,234 events`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A count for a narrow cell: `12,345`, `1.23M`.
pub fn short(count: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    if count < 100_000 {
        grouped(count)
    } else {
        scaled(count as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"])
    }
}

/// Bytes: `512 B`, `1.23 MiB`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(count: u64) -> String {
    scaled_bytes(count as f64)
}

fn scaled_bytes(count: f64) -> String {
    scaled(count, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// A number each second: `0.25/s`, `1.23k/s`.
pub fn rate(per_second: f64) -> String {
    // Of less than one in a hundred seconds more digits say nothing.
    if per_second > 0.0 && per_second < 0.01 {
        return "<0.01/s".into();
    }
    scaled(per_second, 1000.0, &["", "k", "M", "G"]) + "/s"
}

/// Any measured number in about four digits: `0.0123`, `3`, `1,234`, `1.23e-7`.
pub fn measured(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == 0.0 {
        return format!("{value}");
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{value:.2e}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1e9, and positive")]
    if size.fract() == 0.0 || size >= 1e4 {
        let sign = if value < 0.0 { "-" } else { "" };
        return sign.to_owned() + &grouped(size.round() as u64);
    }
    trimmed(value, 4)
}

/// A measured number with the unit that its key names, if it names one: its last word is `bytes`, `ns`, `us`,
/// `ms` or `seconds`, or the key is `duration`, which is in nanoseconds. Rates such as `rows_per_ms`, and
/// points in time such as `created_ms`, which are more than ten years, have no unit.
pub fn with_unit_of(key: &str, value: f64) -> Option<String> {
    let (rest, unit) = key.rsplit_once(['_', '.']).unwrap_or(("", key));
    if !value.is_finite() || rest == "per" || rest.ends_with("_per") {
        return None;
    }
    let factor = match unit {
        "bytes" => {
            let sign = if value < 0.0 { "-" } else { "" };
            return (value.abs() < MAX_BYTES).then(|| sign.to_owned() + &scaled_bytes(value.abs()));
        }
        "duration" if rest.is_empty() => 1e-9,
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "seconds" => 1.0,
        _ => return None,
    };
    Some(value * factor).filter(|value| value.abs() < MAX_SECONDS).map(seconds)
}

/// A time in seconds: `850 ns`, `12.3 µs`, `5.2 ms`, `1.25 s`, and from two minutes on as [`uptime`].
pub fn seconds(seconds: f64) -> String {
    let size = seconds.abs();
    let (factor, unit) = match size {
        _ if !size.is_finite() => return measured(seconds),
        0.0 => return "0 s".into(),
        _ if size < 0.999_5e-6 => (1e9, "ns"),
        _ if size < 0.999_5e-3 => (1e6, "µs"),
        _ if size < 0.999_5 => (1e3, "ms"),
        _ if size < 120.0 => (1.0, "s"),
        _ if size < MAX_SECONDS => {
            let sign = if seconds < 0.0 { "-" } else { "" };
            return sign.to_owned() + &uptime(Duration::from_secs_f64(size));
        }
        _ => return measured(seconds) + " s",
    };
    format!("{} {unit}", trimmed(seconds * factor, 3))
}

/// How long something has run, in its two largest units: `42s`, `3m 05s`, `2h 07m`, `4d 03h`.
pub fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {:02}s", seconds % 60),
        (0, _, _) => format!("{hours}h {:02}m", minutes % 60),
        _ => format!("{days}d {:02}h", hours % 24),
    }
}

/// Three digits and the unit of the largest power that is not above the number.
fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let (mut value, mut power) = (value, 0);
    // What would be rounded up to the next unit is written in it.
    while value >= base * 0.999_5 && power + 1 < units.len() {
        value /= base;
        power += 1;
    }
    trimmed(value, 3) + units.get(power).copied().unwrap_or_default()
}

/// At most this many digits, without trailing zeros in the fraction.
fn trimmed(value: f64, digits: usize) -> String {
    #[allow(clippy::cast_possible_truncation, reason = "the exponent of a double has three digits")]
    let whole = if value == 0.0 { 1 } else { libm::log10(value.abs()).floor() as i32 + 1 };
    let digits = i32::try_from(digits).unwrap_or(i32::MAX);
    let places = usize::try_from(digits.saturating_sub(whole)).unwrap_or(0);
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_shortened() {
        let texts = [0, 999, 1000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        let texts = [7, 99_999, 100_000, 1_234_567, 999_999, u64::MAX].map(short);
        assert_eq!(texts, ["7", "99,999", "100k", "1.23M", "1M", "18.4E"]);
    }

    #[test]
    fn sizes_and_rates_have_three_digits() {
        assert_eq!([0, 1023, 1024, 1536, 1 << 30].map(bytes), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 GiB"]);
        assert_eq!([0.0, 0.25, 12.34, 1234.5, 2e6].map(rate), ["0/s", "0.25/s", "12.3/s", "1.23k/s", "2M/s"]);
        assert_eq!([1e-300, 0.01].map(rate), ["<0.01/s", "0.01/s"]);
    }

    #[test]
    fn measured_numbers_keep_what_matters() {
        let texts = [0.0, 3.0, -2.5, 0.012_345, 1234.0, 12_345.6, 1.234e-7, 2e12, -0.5].map(measured);
        assert_eq!(texts, ["0", "3", "-2.5", "0.01235", "1,234", "12,346", "1.23e-7", "2.00e12", "-0.5"]);
        assert_eq!([f64::NAN, f64::INFINITY].map(measured), ["NaN", "inf"]);
    }

    #[test]
    fn keys_name_units() {
        for (key, value, expected) in [
            ("rss_bytes", 13_991_936.0, Some("13.3 MiB")),
            ("bytes", -5.0, Some("-5 B")),
            ("gpu.bytes", 7e9, Some("6.52 GiB")),
            ("latency_ms", 3.5, Some("3.5 ms")),
            ("wait_seconds", 0.25, Some("250 ms")),
            ("duration", 1500.0, Some("1.5 µs")),
            ("poll_us", 0.0, Some("0 s")),
            ("created_ms", 1_698_234_567_890.0, None),
            ("rows_per_ms", 5.0, None),
            ("bytes_per_seconds", 5.0, None),
            ("items", 3.0, None),
            ("ms", f64::NAN, None),
            ("x_bytes", 1e300, None),
            ("my_duration", 1.0, None),
        ] {
            assert_eq!(with_unit_of(key, value).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let texts = [0.0, 8.5e-7, 1.23e-5, 0.0052, 0.999_9, 1.25, 119.0, 125.0, 7620.0].map(seconds);
        let expected = ["0 s", "850 ns", "12.3 µs", "5.2 ms", "1 s", "1.25 s", "119 s", "2m 05s", "2h 07m"];
        assert_eq!(texts, expected);
        assert_eq!(
            [-0.5, -7620.0, 1e308, -1e308].map(seconds),
            ["-500 ms", "-2h 07m", "1.00e308 s", "-1.00e308 s"]
        );
        assert_eq!(uptime(Duration::from_secs(4 * 86400 + 3 * 3600)), "4d 03h");
        assert_eq!(uptime(Duration::from_millis(42_900)), "42s");
    }
}
