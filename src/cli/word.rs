//! The words of a command line as values, for all options alike: `<option>: '<word>': <what was expected>`.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    ops::RangeInclusive,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    time::Duration,
};

/// How many of something there may be.
pub const COUNT: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// How many bytes something may have: a TiB is more than any machine that this runs on.
pub const SIZE: RangeInclusive<u64> = 1..=1 << 40;

/// Longer durations are mistakes, and clocks would not survive all of them.
pub const MAX_DURATION: Duration = Duration::from_secs(100 * 31_557_600);

/// So much of a word is enough to know it by.
const MAX_SHOWN_CHARS: usize = 200;

/// A word as somebody wrote it. It need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(OsString);

impl From<OsString> for Word {
    fn from(word: OsString) -> Self {
        Self(word)
    }
}

impl From<String> for Word {
    fn from(word: String) -> Self {
        Self(word.into())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(formatter)
    }
}

impl Word {
    /// Makes a value of it, which this option is to have.
    ///
    /// # Errors
    ///
    /// The option, the word and what is wrong with it, in one line.
    pub fn parse<T>(&self, option: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
        let parsed = self.0.to_str().ok_or_else(|| "not UTF-8".into()).and_then(parse);
        parsed.map_err(|cause| {
            let mut shown = self.to_string();
            if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN_CHARS) {
                shown.replace_range(end.., "…");
            }
            format!("{option}: '{shown}': {cause}")
        })
    }

    /// The lines of it that have something on them.
    pub fn lines(&self) -> impl Iterator<Item = Self> {
        let lines = self.0.as_bytes().split(|byte| *byte == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter(|line| !line.is_empty()).map(|line| Self(OsString::from_vec(line.to_vec())))
    }
}

/// A whole number in this range.
pub fn whole<N: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<N, String> {
    move |word| {
        let number = word.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| N::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A share of a whole.
///
/// # Errors
///
/// What was expected.
pub fn share(word: &str) -> Result<f64, String> {
    let number = word.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 1".into())
}

/// A duration, which may be none at all.
///
/// # Errors
///
/// What was expected.
pub fn duration(word: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(word).map_err(|_| "expected such as 500ms or 2s")?;
    if duration > MAX_DURATION { Err("expected at most 100 years".into()) } else { Ok(duration) }
}

/// A duration, not of nothing.
///
/// # Errors
///
/// What was expected.
pub fn some_time(word: &str) -> Result<Duration, String> {
    match duration(word)? {
        Duration::ZERO => Err("expected more than nothing".into()),
        duration => Ok(duration),
    }
}

/// What a variable says of a switch.
pub(super) fn switch(word: &str) -> Result<bool, String> {
    match word {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("expected 0, 1, true or false".into()),
    }
}

/// What a variable says of a switch that may be given several times.
pub(super) fn times(word: &str) -> Result<u8, String> {
    whole(0..=u8::MAX.into())(word)
}

/// Parses what may only come from a variable: on the command line these options take no value.
#[derive(Clone)]
pub(super) struct FromVariable<T>(pub fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> clap::builder::TypedValueParser for FromVariable<T> {
    type Value = T;

    fn parse_ref(
        &self,
        _: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let variable = argument.and_then(clap::Arg::get_env).unwrap_or_default().display().to_string();
        Word(value.to_owned()).parse(&variable, self.0).map_err(super::fault::told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        text.to_owned().into()
    }

    #[test]
    fn a_word_is_told_with_its_option_and_what_was_expected() {
        let not_utf8 = Word(OsStr::from_bytes(b"a\xff").to_owned());
        assert_eq!(not_utf8.parse("--allow", share).unwrap_err(), "--allow: 'a\u{fffd}': not UTF-8");
        for text in ["", "x", "-1", "0", "1.5", "4294967296", "18446744073709551616"] {
            let fault = word(text).parse("--n", whole::<u32>(COUNT)).unwrap_err();
            assert_eq!(fault, format!("--n: '{text}': expected a whole number from 1 to 4294967295"));
        }
        for (text, number) in [("1", 1), ("4294967295", u32::MAX)] {
            assert_eq!(word(text).parse("--n", whole(COUNT)), Ok(number));
        }
        let long = word(&"ü".repeat(1000)).parse("--n", share).unwrap_err();
        assert_eq!(long, format!("--n: '{}…': expected a number from 0 to 1", "ü".repeat(200)));
        for text in ["", "x", "-0.1", "1.1", "NaN", "inf"] {
            assert!(share(text).unwrap_err().contains("from 0 to 1"), "{text}");
        }
        assert_eq!((share("0"), share("1e-1"), share("1")), (Ok(0.0), Ok(0.1), Ok(1.0)));
    }

    #[test]
    fn a_duration_has_a_unit_and_an_end() {
        for word in ["", "5", "-1s", "soon", "99999999999999999999s"] {
            assert!(duration(word).unwrap_err().contains("500ms"), "{word}");
        }
        assert!(duration("100years").is_ok());
        for word in ["101years", "10000000000000000000s"] {
            assert!(duration(word).unwrap_err().contains("100 years"), "{word}");
        }
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(some_time("0s").is_err());
    }

    #[test]
    fn lines_are_words() {
        let lines: Vec<_> = word("a\r\n\nb c\n").lines().collect();
        assert_eq!(lines, [word("a"), word("b c")]);
    }
}
