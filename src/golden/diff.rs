//! The differences as text, in the style of `diff -u`.

use super::{
    Events,
    changes::{Step, keys, steps},
};
use crate::system::value::counted;
use std::fmt::Write as _;

/// How many equal events are shown before and after a difference.
const CONTEXT: usize = 2;

/// Once this many lines are shown the other differences are only counted.
const MAX_LINES: usize = 200;

/// The most keys of an event that are shown.
const MAX_KEYS: usize = 20;

/// The most characters of a line that are shown.
const MAX_CHARS: usize = 400;

/// The differences between two lists of events.
#[derive(Debug)]
pub struct Diff {
    /// `1 changed, 2 missing`
    pub summary: String,
    /// The hunks, with newlines.
    pub text: String,
}

impl Diff {
    /// The differences, if there are any.
    pub fn of(expected: &Events, found: &Events) -> Option<Self> {
        if expected.text() == found.text() {
            return None;
        }
        let expected: Vec<_> = expected.text().lines().collect();
        let found: Vec<_> = found.text().lines().collect();
        let steps = steps(&expected, &found);
        let (mut lines, mut more) = (Vec::new(), 0);
        for hunk in hunks(&steps) {
            if lines.len() < MAX_LINES {
                lines.push(header(hunk));
            }
            for step in hunk {
                if lines.len() < MAX_LINES {
                    show(*step, &expected, &found, &mut lines);
                } else {
                    more += usize::from(!is_same(step));
                }
            }
        }
        let mut text: String = lines.iter().map(|line| cut(line) + "\n").collect();
        if more > 0 {
            let _ = writeln!(text, "… {} not shown", counted(more as u64, "more difference"));
        }
        Some(Self { summary: summary(&steps), text })
    }
}

fn is_same(step: &Step) -> bool {
    matches!(step, Step::Same { .. })
}

fn summary(steps: &[Step]) -> String {
    let count = |is_one: fn(&Step) -> bool| steps.iter().filter(|step| is_one(step)).count();
    let counts = [
        (count(|step| matches!(step, Step::Changed { .. })), "changed"),
        (count(|step| matches!(step, Step::Missing(_))), "missing"),
        (count(|step| matches!(step, Step::New(_))), "new"),
    ];
    let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    words.collect::<Vec<_>>().join(", ")
}

/// Runs of steps with differences, and some equal events around them.
fn hunks(steps: &[Step]) -> impl Iterator<Item = &[Step]> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, _) in steps.iter().enumerate().filter(|(_, step)| !is_same(step)) {
        let (start, end) = (index.saturating_sub(CONTEXT), (index + CONTEXT + 1).min(steps.len()));
        match ranges.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges.into_iter().filter_map(|range| steps.get(range))
}

/// `@@ -3,2 +3,1 @@`: first event and number of events, expected and found.
fn header(hunk: &[Step]) -> String {
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for step in hunk {
        match *step {
            Step::Same { expected: old, found: new } | Step::Changed { expected: old, found: new } => {
                expected.push(old);
                found.push(new);
            }
            Step::Missing(old) => expected.push(old),
            Step::New(new) => found.push(new),
        }
    }
    let side =
        |indexes: &[usize]| format!("{},{}", indexes.first().map_or(0, |first| first + 1), indexes.len());
    format!("@@ -{} +{} @@", side(&expected), side(&found))
}

fn show(step: Step, expected: &[&str], found: &[&str], lines: &mut Vec<String>) {
    let line = |all: &[&str], index: usize| all.get(index).copied().unwrap_or_default().to_owned();
    match step {
        Step::Same { found: index, .. } => lines.push(format!(" {}", line(found, index))),
        Step::Missing(index) => lines.push(format!("-{}", line(expected, index))),
        Step::New(index) => lines.push(format!("+{}", line(found, index))),
        Step::Changed { expected: old, found: new } => {
            let (old, new) = (line(expected, old), line(found, new));
            lines.push(format!("-{old}"));
            lines.push(format!("+{new}"));
            let keys = keys(&old, &new);
            lines.extend(keys.iter().take(MAX_KEYS).map(|key| format!("?  {key}")));
            if let Some(more) = keys.len().checked_sub(MAX_KEYS).filter(|more| *more > 0) {
                lines.push(format!("?  … {more} more"));
            }
        }
    }
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{Fields, read};
    use std::fs;

    /// Events with these names, each with its own measurement.
    fn events(lines: impl IntoIterator<Item = (String, usize)>) -> Events {
        let line =
            |(name, rows)| format!("{{\"event\": \"{name}\", \"measurements\": {{\"rows\": {rows}}}}}\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines.into_iter().map(line).collect::<String>()).unwrap();
        read(file.path(), &Fields::default()).unwrap().unwrap()
    }

    fn named(names: &str) -> Events {
        events(names.chars().map(|name| (name.to_string(), 0)))
    }

    #[test]
    fn equal_events_have_no_differences() {
        assert!(Diff::of(&named("abc"), &named("abc")).is_none());
        assert!(Diff::of(&named(""), &named("")).is_none());
    }

    #[test]
    fn what_is_between_stays_where_it_is() {
        let diff = Diff::of(&named("abcdefghij"), &named("abXcdefghi")).unwrap();
        assert_eq!(diff.summary, "1 missing, 1 new");
        let names = |line: &str| match line.split_once("\"event\": \"") {
            Some((mark, rest)) => format!("{}{}", &mark[..1], &rest[..1]),
            None => line.to_owned(),
        };
        let lines: Vec<_> = diff.text.lines().map(names).collect();
        assert_eq!(
            lines,
            ["@@ -1,4 +1,5 @@", " a", " b", "+X", " c", " d", "@@ -8,3 +9,2 @@", " h", " i", "-j"]
        );
    }

    #[test]
    fn an_event_of_the_same_name_has_changed_and_others_are_missing_or_new() {
        let expected = events([("a".to_owned(), 1), ("gone".to_owned(), 1), ("b".to_owned(), 1)]);
        let found = events([("a".to_owned(), 2), ("b".to_owned(), 3), ("more".to_owned(), 1)]);
        let diff = Diff::of(&expected, &found).unwrap();
        assert_eq!(diff.summary, "2 changed, 1 missing, 1 new");
        assert!(diff.text.contains("?  measurements.rows: 2, expected 1\n"), "{}", diff.text);
    }

    #[test]
    fn thousands_of_differences_are_bounded_in_length_and_time() {
        let expected = events((0..20_000).map(|index| (format!("a{index}"), 0)));
        let found = events((0..20_000).map(|index| (format!("b{index}").repeat(200), 0)));
        let diff = Diff::of(&expected, &found).unwrap();
        assert_eq!(diff.summary, "20000 missing, 20000 new");
        assert_eq!(diff.text.lines().count(), MAX_LINES + 1);
        assert!(
            diff.text.ends_with("\n… 39801 more differences not shown\n"),
            "{}",
            diff.text.lines().last().unwrap()
        );
        assert!(diff.text.lines().all(|line| line.chars().count() <= MAX_CHARS + 1));
    }

    #[test]
    fn of_an_event_with_many_keys_some_are_shown() {
        let events = |value: usize| {
            let entries: Vec<_> = (0..1000).map(|key| format!("\"k{key}\": {value}")).collect();
            let line = format!("{{\"event\": \"a\", \"measurements\": {{{}}}}}", entries.join(", "));
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), line).unwrap();
            read(file.path(), &Fields::default()).unwrap().unwrap()
        };
        let diff = Diff::of(&events(1), &events(2)).unwrap();
        assert_eq!(diff.text.lines().count(), 3 + MAX_KEYS + 1);
        assert!(diff.text.ends_with("?  … 980 more\n"), "{}", diff.text);
    }
}
