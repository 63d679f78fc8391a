//! Values that options have in common: numbers, durations, switches. Errors say what was expected.

use std::{fmt, ops::RangeInclusive, time::Duration};

/// How many of something there may be.
pub const COUNT: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// How many bytes something may have: a TiB is more than the memory of any machine that this runs on.
pub const SIZE: RangeInclusive<u64> = 1..=1 << 40;

/// Longer durations are mistakes, and adding them to a clock could overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 31_557_600);

/// A duration that displays itself in the form in which it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

/// A duration, which may be zero.
///
/// # Errors
///
/// What was expected.
pub fn duration(word: &str) -> Result<Period, String> {
    let duration = humantime::parse_duration(word)
        .map_err(|_| "expected a duration with a unit, such as 20s or 500ms".to_owned())?;
    if duration > MAX_DURATION { Err("expected at most 100 years".into()) } else { Ok(Period(duration)) }
}

/// A duration that is not zero.
///
/// # Errors
///
/// What was expected.
pub fn nonzero_duration(word: &str) -> Result<Period, String> {
    match duration(word)? {
        Period(Duration::ZERO) => Err("expected a duration of more than 0s".into()),
        period => Ok(period),
    }
}

/// `1 event`, `2 events`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A whole number in a range.
pub fn integer_in<N: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static {
    move |word| {
        let number = word.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A number from 0 to 1.
///
/// # Errors
///
/// What was expected.
pub fn ratio(word: &str) -> Result<f64, String> {
    let number = word.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".into())
}

/// The variable of an option that takes no value.
///
/// # Errors
///
/// What was expected.
pub fn switch(word: &str) -> Result<bool, String> {
    match word {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("expected 0, 1, true or false".into()),
    }
}

/// An option that is a switch and also takes one other word: `on` when it is switched on, `other` for the
/// word, nothing when it is switched off.
pub fn switch_or<T: Clone + Send + Sync + 'static>(
    word: &'static str,
    other: T,
    on: T,
) -> impl Fn(&str) -> Result<Option<T>, String> + Clone + Send + Sync + 'static {
    move |text| match switch(text) {
        _ if text == word => Ok(Some(other.clone())),
        Ok(true) => Ok(Some(on.clone())),
        Ok(false) => Ok(None),
        Err(_) => Err(format!("expected {word}, 0, 1, true or false")),
    }
}

/// What an exporter's option asks for whose address may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted<T> {
    /// The variable turns the exporter off.
    Off,
    /// On, with the default address.
    On,
    /// On, with this address.
    At(T),
}

/// An option whose address may be missing; its variable is a switch, too.
pub fn wanted<T, E: fmt::Display>(
    parse: impl Fn(&str) -> Result<T, E> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<Wanted<T>, String> + Clone + Send + Sync + 'static {
    move |word| match switch(word) {
        Ok(true) => Ok(Wanted::On),
        Ok(false) => Ok(Wanted::Off),
        Err(_) => parse(word).map(Wanted::At).map_err(|cause| {
            // No address looks like a switch with another spelling, such as TRUE or yes.
            let is_word = word.chars().all(char::is_alphanumeric);
            if is_word { format!("{cause}, or 0, 1, true or false") } else { cause.to_string() }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_within_their_range() {
        for text in ["", "x", "-1", "0", "1.5", "4294967296", "18446744073709551616"] {
            let error = integer_in::<u32>(COUNT)(text).unwrap_err();
            assert_eq!(error, "expected a whole number from 1 to 4294967295", "{text}");
        }
        for (text, number) in [("1", 1), ("4294967295", u32::MAX)] {
            assert_eq!(integer_in(COUNT)(text), Ok(number));
        }
        for text in ["", "x", "-0.1", "1.1", "NaN", "inf"] {
            assert!(ratio(text).unwrap_err().contains("from 0 to 1"), "{text}");
        }
        assert_eq!((ratio("0"), ratio("1e-1"), ratio("1")), (Ok(0.0), Ok(0.1), Ok(1.0)));
    }

    #[test]
    fn an_exporter_is_wanted_by_a_switch_or_an_address() {
        let address = |word: &str| match word {
            "a:1" => Ok(1),
            _ => Err("expected a:1"),
        };
        let parse = wanted(address);
        for (word, expected) in
            [("1", Wanted::On), ("true", Wanted::On), ("0", Wanted::Off), ("false", Wanted::Off)]
        {
            assert_eq!(parse(word), Ok(expected));
        }
        assert_eq!(parse("a:1"), Ok(Wanted::At(1)));
        assert_eq!(parse("a:2"), Err("expected a:1".into()));
        for word in ["TRUE", "yes", "2"] {
            assert_eq!(parse(word), Err("expected a:1, or 0, 1, true or false".into()));
        }
    }

    #[test]
    fn a_duration_has_a_unit_and_a_maximum() {
        for word in ["", "5", "-1s", "soon", "99999999999999999999s"] {
            assert!(duration(word).unwrap_err().contains("with a unit, such as 20s"), "{word}");
        }
        assert!(duration("100years").is_ok());
        for word in ["101years", "10000000000000000000s"] {
            assert!(duration(word).unwrap_err().contains("100 years"), "{word}");
        }
        assert_eq!(duration("0s"), Ok(Period(Duration::ZERO)));
        assert!(nonzero_duration("0s").is_err());
    }

    #[test]
    fn durations_are_displayed_as_they_are_given() {
        for text in ["0s", "500ms", "5s", "10m"] {
            assert_eq!(duration(text).unwrap().to_string(), text);
        }
    }
}
