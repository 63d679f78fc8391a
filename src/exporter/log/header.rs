//! The start of a line of text, where loggers print the time, the severity and other fields before the
//! message.
//!
//! A name of a severity counts only in the places where loggers put it: as the first word, in brackets, or
//! after a time and other fields that are delimited. So `10 errors` or `got ERROR from server` have none.

use super::{Severity, severity, time};

/// The most bytes of a line that its header has.
const MAX_HEADER_BYTES: usize = 512;

/// The most words, brackets and separators before the severity.
const MAX_FIELDS: usize = 16;

/// The severity, the time, and the message if it does not start with the line.
pub(super) fn read(text: &str) -> (Option<Severity>, Option<i64>, Option<&str>) {
    if let Some((severity, message)) = priority(text) {
        return (Some(severity), None, Some(message));
    }
    if let Some(severity) = glog(text) {
        return (Some(severity), None, None);
    }
    let mut header = Header { rest: text, ..Header::default() };
    for _ in 0..MAX_FIELDS {
        match header.next() {
            Step::Continue if text.len() - header.rest.len() <= MAX_HEADER_BYTES => {}
            Step::Severity(severity) => return (Some(severity), header.time_ns, None),
            _ => break,
        }
    }
    (None, header.time_ns, None)
}

/// `<N>` with a priority of syslog, as systemd reads it, and the text after it.
fn priority(text: &str) -> Option<(Severity, &str)> {
    let (digits, message) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = matches!(digits.len(), 1..=3) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u8 = if is_number { digits.parse().ok()? } else { return None };
    // A facility may be in the higher bits, up to 23.
    if number > 191 || message.is_empty() {
        return None;
    }
    Some((severity::of_priority(number & 7, digits)?, message))
}

/// `I1121 09:50:51.250000 12345 file.go:7] …`, also with a year.
fn glog(text: &str) -> Option<Severity> {
    let (letter, rest) = text.as_bytes().split_first()?;
    let severity = severity::of_letter(*letter)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_time = matches!(rest.get(digits..)?, [b' ', _, _, b':', _, _, b':', _, _, b'.', ..]);
    (matches!(digits, 4 | 8) && is_time && text.contains("] ")).then_some(severity)
}

/// The fields read so far.
#[derive(Debug, Default)]
struct Header<'a> {
    rest: &'a str,
    /// A time was read.
    has_time: bool,
    last: Last,
    time_ns: Option<i64>,
}

/// What was read last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Nothing,
    Time,
    Word,
    /// Something that delimits the field before it by more than a space.
    Delimiter,
}

enum Step {
    Continue,
    Severity(Severity),
    End,
}

impl<'a> Header<'a> {
    /// Reads the next field.
    fn next(&mut self) -> Step {
        let rest = self.rest.trim_start_matches(' ');
        if let Some(after) = rest.strip_prefix(['\t', '|']) {
            self.rest = after;
            let is_first = std::mem::replace(&mut self.last, Last::Delimiter) == Last::Nothing;
            return if is_first { Step::End } else { Step::Continue };
        }
        if let Some(after) = rest.strip_prefix('[') {
            return self.bracket(after);
        }
        let end = rest.find([' ', '\t', '|']).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        self.rest = after;
        if self.last != Last::Nothing && word == "-" {
            self.last = Last::Delimiter;
            return Step::Continue;
        }
        self.word(word, after)
    }

    /// `[…]`: a severity, a time, a time and a severity, or something else.
    fn bracket(&mut self, text: &'a str) -> Step {
        let Some((content, after)) = text.split_once(']').filter(|(content, _)| content.len() <= 128) else {
            return Step::End;
        };
        self.rest = after;
        self.last = Last::Delimiter;
        let content = content.trim();
        if let Some(severity) = severity::named(content) {
            return Step::Severity(severity);
        }
        let is_time = content.bytes().filter(|byte| *byte == b':').count() >= 2;
        if is_time || self.has_time {
            self.has_time |= is_time;
            self.set_time(content);
            // `[TIME INFO module]`, `[TIME: INFO/Process]`, `[module:error]`.
            let mut words = content.split([' ', '/', ':']).filter(|word| !word.is_empty());
            let severity = if content.starts_with(|c: char| c.is_ascii_digit()) {
                words.filter(|word| is_upper(word)).find_map(severity::named)
            } else {
                words.nth(1).filter(|_| !content.contains(' ')).and_then(severity::named)
            };
            return severity.map_or(Step::Continue, Step::Severity);
        }
        Step::Continue
    }

    /// A word and the text after it.
    fn word(&mut self, word: &'a str, after: &str) -> Step {
        if is_number(word) {
            let is_time = self.time(word);
            self.last = if is_time { Last::Time } else { Last::Word };
            return if is_time || self.has_time { Step::Continue } else { Step::End };
        }
        if let Some(severity) = self.severity(word, after) {
            return Step::Severity(severity);
        }
        let last = std::mem::replace(&mut self.last, Last::Word);
        let is_zone = last == Last::Time && matches!(word.len(), 2..=5) && is_upper(word);
        let is_delimited = last == Last::Delimiter || after.trim_start_matches(' ').starts_with(['|', '\t']);
        let is_name = is_delimited && is_separator(after);
        // `user@database`, and at the start: `nginx: [error]`, and `I, [` of Ruby.
        let is_start = last == Last::Nothing && word.ends_with([':', ',']) && after.starts_with(" [");
        let is_known = self.has_time && word.contains('@') || is_start;
        if is_zone || is_known || self.has_time && is_name { Step::Continue } else { Step::End }
    }

    /// The severity that a word is, if it stands where loggers put it.
    fn severity(&self, word: &str, after: &str) -> Option<Severity> {
        let is_first = self.last == Last::Nothing;
        // logrus: `INFO[0000]`, and Python: `INFO:logger:`.
        let end = word.find(['[', ':']).unwrap_or(word.len());
        let (name, rest) = word.split_at_checked(end)?;
        let severity = severity::named(name)?;
        let (is_upper, is_lower) = (is_upper(name), name.bytes().all(|byte| byte.is_ascii_lowercase()));
        let is_found = match rest.as_bytes() {
            [b':'] => match name {
                "LOG" => self.has_time,
                "log" | "fine" | "config" | "success" | "panic" => false,
                _ => (is_first || self.has_time) && (is_upper || is_lower),
            },
            [b':', name @ ..] => is_first && is_upper && name.contains(&b':'),
            [b'[', digits @ .., b']'] => is_first && is_upper && digits.iter().all(u8::is_ascii_digit),
            [] if name == "LOG" => false,
            [] if self.has_time => {
                is_upper || is_lower && (self.last == Last::Delimiter || is_separator(after))
            }
            // In prose, these are the first word as well.
            [] if is_first
                && matches!(name, "DEBUG" | "TRACE" | "NOTICE" | "SUCCESS" | "CONFIG" | "FINE") =>
            {
                after.starts_with("  ") || is_separator(after)
            }
            // SLF4J's simple logger: `[main] WARN org.example.App - text`.
            [] if self.last == Last::Delimiter => {
                let (_, text) = after.trim_start_matches(' ').split_once(' ').unwrap_or_default();
                is_upper && text.starts_with("- ")
            }
            [] => is_first && is_upper,
            _ => false,
        };
        is_found.then_some(severity)
    }

    /// Whether a number is a time.
    fn time(&mut self, word: &str) -> bool {
        let word = word.trim_end_matches([':', ',']);
        let count = |wanted: u8| word.bytes().filter(|byte| *byte == wanted).count();
        let seconds = word.split('.').next().unwrap_or_default().len();
        let is_epoch = matches!(seconds, 10 | 13) && count(b'.') == 1 || word.contains("e+09");
        let is_time = count(b':') >= 2 || count(b'-') == 2 || count(b'/') == 2 || is_epoch;
        if is_time {
            self.has_time = true;
            self.set_time(word);
        }
        is_time
    }

    fn set_time(&mut self, text: &str) {
        if self.time_ns.is_some() {
            return;
        }
        let first = text.split(' ').next().unwrap_or_default();
        // gunicorn: a space before the offset.
        let spaced = || match text.split(' ').collect::<Vec<_>>()[..] {
            [date, hours, offset] => time::of_text(&format!("{date}T{hours}{offset}")),
            _ => None,
        };
        self.time_ns = time::of_text(first).or_else(spaced);
    }
}

/// Whether the text after a word is delimited from it by more than a space.
fn is_separator(after: &str) -> bool {
    let next = after.trim_start_matches(' ');
    next.starts_with(['|', '\t', '[']) || next.starts_with("- ")
}

fn is_upper(word: &str) -> bool {
    word.bytes().all(|byte| !byte.is_ascii_lowercase())
}

/// Whether a word consists of digits and the characters of times.
fn is_number(word: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"+-/:.,TZe".contains(&byte);
    word.bytes().all(is_part) && word.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit())
}
