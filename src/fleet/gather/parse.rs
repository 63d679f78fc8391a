//! Reads the page of a sidecar: the text format 0.0.4 as this program's exporter writes it, and nothing else.
//! What a peer serves instead is an error, so that it cannot spoil the page of all workers.

use super::family::{Family, Histogram, Series, Value};
use crate::exporter::{metrics::sample::Kind, number::Number};
use std::collections::HashSet;
use thiserror::Error;

/// The most lines that a page may have. A sidecar has at most 20,000 series by default; a histogram has a
/// line for each bucket.
const MAX_LINES: usize = 500_000;

/// The most families that a page may have. A sidecar has a thousand metrics at most, and its own.
const MAX_FAMILIES: usize = 2_000;

/// A label of this name is what [`super::page`] adds. One of a worker's own gets a prefix, as Prometheus does
/// it.
const OWN_LABEL: &str = "worker";
const PREFIX: &str = "exported_";

/// Why a page is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum PageError {
    #[error("line {0} of its page is not what a sidecar writes")]
    Line(usize),
    #[error("its page has more than {MAX_LINES} lines")]
    TooLong,
}

/// The families of a page.
///
/// # Errors
///
/// The first line that is wrong.
pub(super) fn parse(page: &str) -> Result<Vec<Family>, PageError> {
    let mut reader = Reader::default();
    for (number, line) in page.lines().enumerate() {
        if number >= MAX_LINES {
            return Err(PageError::TooLong);
        }
        reader.line(line).ok_or(PageError::Line(number + 1))?;
    }
    reader.end_family().ok_or(PageError::Line(page.lines().count()))?;
    Ok(reader.families)
}

#[derive(Default)]
struct Reader<'a> {
    families: Vec<Family>,
    /// The names of the families so far: none may be repeated.
    names: HashSet<&'a str>,
    help: Option<(&'a str, &'a str)>,
}

impl<'a> Reader<'a> {
    /// Reads a line; none if it is wrong.
    fn line(&mut self, line: &'a str) -> Option<()> {
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(help) = comment.strip_prefix("HELP ") {
                self.end_family()?;
                self.help = Some(help.split_once(' ')?);
                return Some(());
            }
            let (name, kind) = comment.strip_prefix("TYPE ")?.split_once(' ')?;
            let (helped, help) = self.help.take().filter(|(_, help)| is_escaped(help))?;
            if self.families.len() == MAX_FAMILIES {
                return None;
            }
            let kind = match kind {
                "counter" if name.ends_with("_total") => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                _ => return None,
            };
            if helped != name || !is_metric_name(name) || !self.names.insert(name) {
                return None;
            }
            let (name, help) = (name.to_owned(), help.to_owned());
            self.families.push(Family { name, kind, help, series: Vec::new() });
            return Some(());
        }
        if self.help.is_some() {
            return None;
        }
        let family = self.families.last_mut()?;
        let rest = line.strip_prefix(family.name.as_str())?;
        if family.kind == Kind::Histogram {
            return histogram_sample(&mut family.series, rest);
        }
        let (labels, value) = labels_and_value(rest)?;
        family.series.push(Series { labels: written(&labels).into(), value: Value::Number(number(value)?) });
        Some(())
    }

    /// Checks the family that is complete now.
    fn end_family(&mut self) -> Option<()> {
        let Some(family) = self.families.last() else { return Some(()) };
        let mut labels = HashSet::with_capacity(family.series.len());
        let is_complete = |value: &Value| match value {
            Value::Number(_) => true,
            Value::Histogram(histogram) => {
                histogram.buckets.last().is_some_and(|(bound, _)| *bound == f64::INFINITY)
            }
        };
        let mut series = family.series.iter();
        series.all(|series| labels.insert(&*series.labels) && is_complete(&series.value)).then_some(())
    }
}

/// Reads a line of a histogram, behind the family's name.
fn histogram_sample(series: &mut Vec<Series>, rest: &str) -> Option<()> {
    let (suffix, rest) = rest.split_at(rest.find(['{', ' '])?);
    let (mut labels, value) = labels_and_value(rest)?;
    let value = number(value)?;
    let bound = match suffix {
        "_bucket" => {
            Some(labels.pop().filter(|(name, _)| *name == "le").and_then(|(_, bound)| float(bound))?)
        }
        _ => None,
    };
    let labels = written(&labels);
    if let (Some(bound), true) = (bound, series.last().is_none_or(|series| *series.labels != *labels)) {
        let value = Value::Histogram(Box::new(Histogram { buckets: vec![(bound, value)], sum: None }));
        series.push(Series { labels: labels.into(), value });
        return Some(());
    }
    let Some(Series { labels: same, value: Value::Histogram(histogram) }) = series.last_mut() else {
        return None;
    };
    if **same != *labels {
        return None;
    }
    let last = histogram.buckets.last()?.0;
    match (suffix, bound) {
        (_, Some(bound)) => (bound > last).then(|| histogram.buckets.push((bound, value))),
        // The count is that of the last bucket, and comes before the sum.
        ("_count", None) => (last == f64::INFINITY && histogram.sum.is_none()).then_some(()),
        ("_sum", None) => (last == f64::INFINITY && histogram.sum.replace(value).is_none()).then_some(()),
        _ => None,
    }
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// `{a="b",c="d"} 1`, or ` 1`: names and escaped values of the labels, and the rest.
fn labels_and_value(text: &str) -> Option<(Labels<'_>, &str)> {
    let Some(mut rest) = text.strip_prefix('{') else { return Some((Vec::new(), text.strip_prefix(' ')?)) };
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        if !is_label_name(name) || labels.iter().any(|(other, _)| *other == name) {
            return None;
        }
        let (value, after) = after.split_at(value_end(after)?);
        labels.push((name, value));
        match after.strip_prefix("\",") {
            Some(next) => rest = next,
            None => return Some((labels, after.strip_prefix("\"} ")?)),
        }
    }
}

/// Where the quoted value ends.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match (bytes.get(at)?, bytes.get(at + 1)) {
            (b'"', _) => return Some(at),
            (_, Some(b'\\' | b'"' | b'n')) => at += 2,
            _ => return None,
        }
    }
}

/// The labels in order, without empty ones, which have no meaning: so series that Prometheus treats as the
/// same have the same text.
fn written(labels: &[(&str, &str)]) -> String {
    let has = |name: &str| labels.iter().any(|(other, _)| *other == name);
    let mut labels: Vec<_> = labels.iter().filter(|(_, value)| !value.is_empty()).copied().collect();
    labels.sort_unstable();
    let mut text =
        String::with_capacity(labels.iter().map(|(name, value)| name.len() + value.len() + 4).sum());
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        if name == OWN_LABEL {
            let mut exported = format!("{PREFIX}{OWN_LABEL}");
            while has(&exported) {
                exported.insert_str(0, PREFIX);
            }
            text.push_str(&exported);
        } else {
            text.push_str(name);
        }
        text.push_str("=\"");
        text.push_str(value);
        text.push('"');
    }
    text
}

fn number(text: &str) -> Option<Number> {
    match text.parse() {
        Ok(int) => Some(Number::Int(int)),
        Err(_) => float(text).map(Number::Float),
    }
}

/// A float, as Rust writes it, and with a sign if it is infinite.
fn float(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte));
    if is_number || ["NaN", "+Inf", "-Inf"].contains(&text) { text.parse().ok() } else { None }
}

fn is_metric_name(name: &str) -> bool {
    is_word(name, |byte| byte == b':')
}

/// Names that begin with two underscores are Prometheus' own: it refuses a page that has `__name__`.
fn is_label_name(name: &str) -> bool {
    is_word(name, |_| false) && !name.starts_with("__")
}

/// Whether a help text has only the escapes that there are: of backslashes and line breaks.
fn is_escaped(help: &str) -> bool {
    let mut bytes = help.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && !matches!(bytes.next(), Some(b'\\' | b'n')) {
            return false;
        }
    }
    true
}

fn is_word(name: &str, is_other: impl Fn(u8) -> bool) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || is_other(byte);
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests;
