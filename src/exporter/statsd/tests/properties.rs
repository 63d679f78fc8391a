//! Properties of all events: every datagram is valid, and every sample is sent or counted.

use super::{Counts, Dialect, Server, event};
use crate::{
    event::{proto::bridge::TelemetryEvent, view::View},
    exporter::metrics::sample::{Kind, Measures, Sample, Subject},
};
use proptest::{collection::vec, num::f64::ANY, prelude::*, sample::select, test_runner::Config};
use std::collections::BTreeMap;

/// Arbitrary text, biased towards characters that are special in the protocol.
fn text(longest: usize) -> impl Strategy<Value = String> {
    let usual =
        select(&["a", "b.", ".", ":", "|", "#", "@", ",", "\n", "\r", "\0", "ä", " ", "1|c", ";"][..]);
    let part = prop_oneof![3 => usual.prop_map(String::from), 1 => any::<char>().prop_map(String::from)];
    vec(part, 0..longest).prop_map(|parts| parts.concat())
}

fn key() -> impl Strategy<Value = String> {
    text(3).prop_map(|text| format!("k{text}"))
}

fn an_event() -> impl Strategy<Value = TelemetryEvent> {
    let usual = select(&["a.start", "a.stop", "a.exception", "b"][..]).prop_map(String::from);
    // A name is never empty.
    let name = prop_oneof![usual, prop_oneof![text(8), text(60)].prop_map(|text| text + "n")];
    let usual = select(&["duration", "c", "h", "d"][..]).prop_map(String::from);
    let number = prop_oneof![any::<i32>().prop_map(f64::from), ANY];
    let measurements = vec((prop_oneof![usual, text(8)], number), 0..5);
    let metadata = vec((select(&["x", "y|"][..]), prop_oneof![4 => text(6), 1 => text(250)]), 0..3);
    (name, measurements, metadata).prop_map(|(name, measurements, metadata)| {
        let measurements: Vec<_> = measurements.iter().map(|(key, number)| (key.as_str(), *number)).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, text)| (*key, text.as_str())).collect();
        event(&name, &measurements, &metadata)
    })
}

/// Whether a strict server can read a line.
fn parses(line: &str) -> bool {
    let fields: Vec<_> = line.split('|').collect();
    let (metric, kind, tags) = match fields[..] {
        [metric, kind] => (metric, kind, None),
        [metric, kind, tags] => (metric, kind, tags.strip_prefix('#')),
        _ => return false,
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        text.parse::<f64>().is_ok() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let is_tag_word = |text: &str| {
        !text.is_empty() && text.chars().all(|char| char.is_alphanumeric() || char.is_ascii_graphic())
    };
    let is_tag = |tag: &str| match tag.split_once(':') {
        Some((key, value)) => is_tag_word(key) && is_tag_word(value) && tag.chars().count() <= 200,
        None => false,
    };
    let is_metric = match metric.split(':').collect::<Vec<_>>()[..] {
        [name, number] => is_word(name) && !name.contains(['#', '@', ',', ';']) && is_number(number),
        _ => false,
    };
    let has_tags = fields.len() < 3 || tags.is_some_and(|tags| tags.split(',').all(is_tag));
    is_metric && ["c", "g", "ms", "h", "d"].contains(&kind) && has_tags
}

/// A straightforward model of the encoding: the expected lines.
#[derive(Default)]
struct Model {
    /// Keyed by the text before and after the value.
    merged: BTreeMap<(String, String), f64>,
    each: Vec<String>,
    invalid: u64,
}

impl Model {
    fn add(&mut self, dialect: Dialect, prefix: &str, measures: &Measures, event: &View<'_>) {
        let is_dogstatsd = dialect == Dialect::Dogstatsd;
        let labels = measures.labels(event).filter(|(_, value)| is_dogstatsd && !value.is_empty());
        let tags: Vec<_> = labels
            .map(|(key, value)| {
                let clean = |text: &str, separators: &str| {
                    let may_be = |char: char| char.is_alphanumeric() || char.is_ascii_graphic();
                    replace(text, |char| may_be(char) && !separators.contains(char))
                };
                let tag = format!("{}:{}", clean(key, "|#:@,"), clean(value, "|#@,"));
                tag.chars().take(200).collect::<String>()
            })
            .collect();
        for Sample { subject, kind, value } in measures.samples(event) {
            let value = value.as_f64();
            let mut tags = tags.clone();
            let (name, value) = match subject {
                Subject::Event(name) => (name.to_owned(), value),
                Subject::Measurement { operation, key } => (format!("{operation}.{key}"), value),
                Subject::Duration { operation, failed } => {
                    let result = if failed { "result:error" } else { "result:ok" };
                    tags.splice(0..0, is_dogstatsd.then(|| result.to_owned()));
                    (format!("{operation}.duration"), (value * 1e9).round() / 1e6)
                }
            };
            let (letters, signed) = match (kind, subject) {
                (_, Subject::Duration { .. }) => ("ms", false),
                (Kind::Counter, _) => ("c", false),
                (Kind::Gauge, _) => ("g", true),
                (Kind::Histogram | Kind::Distribution, _) if !is_dogstatsd => ("ms", false),
                (Kind::Histogram, _) => ("h", true),
                (Kind::Distribution, _) => ("d", true),
            };
            if !value.is_finite() || (value < 0.0 && !signed) {
                self.invalid += 1;
                continue;
            }
            let mut name = format!(
                "{prefix}{}",
                replace(&name, |char| char.is_ascii_alphanumeric() || "_-.".contains(char))
            );
            if is_dogstatsd && !name.starts_with(|char: char| char.is_ascii_alphabetic()) {
                name.insert(0, 'x');
            }
            let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
            let value = if value == 0.0 { 0.0 } else { value };
            let series = (name, format!("|{letters}{tags}"));
            match (letters, self.merged.get_mut(&series)) {
                ("ms" | "h" | "d", _) => self.each.push(format!("{}:{value}{}", series.0, series.1)),
                ("c", Some(sum)) if !(*sum + value).is_finite() => self.invalid += 1,
                ("c", Some(sum)) => *sum += value,
                _ => drop(self.merged.insert(series, value)),
            }
        }
    }

    /// The lines, sorted; a reset and its negative gauge are one entry.
    fn lines(self) -> Vec<String> {
        let merged = self.merged.into_iter().map(|((name, rest), value)| {
            let line = format!("{name}:{value}{rest}");
            if value < 0.0 { format!("{name}:0{rest}\n{line}") } else { line }
        });
        let mut lines: Vec<_> = merged.chain(self.each).collect();
        lines.sort_unstable();
        lines
    }
}

fn replace(text: &str, may_be: impl Fn(char) -> bool) -> String {
    text.chars().map(|char| if may_be(char) { char } else { '_' }).collect()
}

fn is_negative_gauge(line: &str) -> bool {
    let value = line.split(':').nth(1);
    value.is_some_and(|value| value.starts_with('-') && value.split('|').nth(1) == Some("g"))
}

/// The lines of datagrams, sorted; a reset and its negative gauge are one entry.
fn lines_of(datagrams: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for datagram in datagrams {
        for (index, line) in datagram.split('\n').enumerate() {
            match lines.last_mut() {
                Some(before) if index > 0 && is_negative_gauge(line) => {
                    *before += "\n";
                    *before += line;
                }
                _ => lines.push(line.to_owned()),
            }
        }
    }
    lines.sort_unstable();
    lines
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_line_is_valid_and_every_sample_is_sent_or_counted(
        events in vec(an_event(), 0..10),
        dogstatsd: bool,
        prefix in "([a-z._]{0,4}[a-z_])?",
        labels in vec(prop_oneof![Just("x".to_owned()), Just("y|".to_owned()), key()], 0..3),
        max_bytes in prop_oneof![Just(1432_usize), Just(8192), 20..200_usize],
    ) {
        let dialect = if dogstatsd { Dialect::Dogstatsd } else { Dialect::Statsd };
        let mut server = Server::new(dialect, &prefix, max_bytes)
            .kind("*.c", Kind::Counter)
            .kind("*.h", Kind::Histogram)
            .kind("*.d", Kind::Distribution);
        server.measures.labels = labels;
        let prefix = if prefix.is_empty() { prefix } else { prefix + "." };
        let mut model = Model::default();
        for event in &events {
            model.add(dialect, &prefix, &server.measures, &View::from(event));
        }

        let (datagrams, counted) = server.receive(&events);

        for datagram in &datagrams {
            prop_assert!(datagram.len() <= max_bytes);
            for line in datagram.split('\n') {
                prop_assert!(parses(line), "{line:?}");
            }
        }
        let invalid = model.invalid;
        let (expected, oversized): (Vec<_>, Vec<_>) =
            model.lines().into_iter().partition(|line| line.len() <= max_bytes);
        prop_assert_eq!(lines_of(&datagrams), expected);
        let (oversized, lost_events) = (oversized.len() as u64, events.len() as u64 - counted);
        prop_assert_eq!(server.counts, Counts { invalid, oversized, lost_events, ..Counts::default() });
    }
}
