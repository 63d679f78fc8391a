//! The page of all workers, in the text format. OpenMetrics' exemplars and start times are on the pages of
//! the sidecars only: neither can be added up.

use super::{
    family::{Histogram, Value},
    slots::{Ended, Slots},
};
use crate::{
    exporter::{
        metrics::sample::Kind,
        number::Number,
        prometheus::page::{Bound, Format, Page, Shown},
    },
    fleet::discover::Sidecar,
    system::visible::one_line,
};
use std::fmt::Write as _;

/// How many families of a worker are named that are left out.
const SHOWN_REFUSALS: usize = 10;

/// What the names of the gatherer's own families start with.
pub(super) const OWN_PREFIX: &str = "telemetry_sidecar_gather_";

/// How much of a command is shown: how many words, and how many characters.
const MAX_COMMAND_WORDS: usize = 2;
const MAX_COMMAND_CHARS: usize = 100;

/// How much is shown of why a sidecar is not on the page, in characters.
const MAX_CAUSE_CHARS: usize = 200;

/// The format of the page.
pub(super) const FORMAT: Format = Format::Text;

/// A sidecar that is not on the page, and why.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub(super) sidecar: Sidecar,
    pub(super) reason: Reason,
    /// The same in words; a peer may have chosen some.
    pub(super) cause: String,
}

/// Why a sidecar is not on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It was started without `--export-prometheus`.
    NoPage,
    /// It does not say where its page is.
    Unreachable,
}

/// How many pages were fetched.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fetches {
    pub(super) ok: u64,
    pub(super) failed: u64,
}

/// Writes the page.
pub(super) fn page(slots: &Slots, left_out: &[LeftOut], fetches: Fetches) -> String {
    let mut text = workers(slots, &own(slots, left_out, fetches));
    for LeftOut { sidecar, cause, .. } in left_out {
        // The command has no line breaks.
        let (pids, command, cause) = (pids(sidecar), command(sidecar), one_line(cause));
        let cause: String = cause.chars().take(MAX_CAUSE_CHARS).collect();
        let _ = writeln!(text, "# not gathered: {pids} ({command}): {cause}");
    }
    for (number, worker) in slots.workers() {
        for name in worker.refused.iter().take(SHOWN_REFUSALS) {
            let _ = writeln!(text, "# left out: {name} of worker {number}: another kind or too many names");
        }
    }
    text
}

/// The families of the workers, and the gatherer's own in their place.
fn workers(slots: &Slots, own: &str) -> String {
    let numbers: Vec<_> = (0..slots.all.len()).map(|number| number.to_string()).collect();
    let mut text = String::new();
    let mut own = Some(own);
    for (name, kind, help) in slots.names.families() {
        if name > OWN_PREFIX {
            text.push_str(own.take().unwrap_or_default());
        }
        let mut is_begun = false;
        for (number, slot) in numbers.iter().zip(&slots.all) {
            let living = slot.worker.as_ref().and_then(|worker| worker.family(name));
            slot.base.sums(name, living, |labels, value| {
                if !is_begun {
                    is_begun = true;
                    let kind = match kind {
                        Kind::Counter => "counter",
                        Kind::Gauge => "gauge",
                        Kind::Histogram | Kind::Distribution => "histogram",
                    };
                    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
                }
                match value {
                    Value::Number(value) => line(&mut text, (name, ""), (number, labels), None, *value),
                    Value::Histogram(value) => histogram(&mut text, name, (number, labels), value),
                }
            });
        }
    }
    text + own.unwrap_or_default()
}

fn histogram(text: &mut String, name: &str, labels: (&str, &str), histogram: &Histogram) {
    for (bound, count) in &histogram.buckets {
        line(text, (name, "_bucket"), labels, Some(*bound), *count);
    }
    line(text, (name, "_count"), labels, None, histogram.count());
    if let Some(sum) = histogram.sum {
        line(text, (name, "_sum"), labels, None, sum);
    }
}

fn line(
    text: &mut String,
    (name, suffix): (&str, &str),
    (number, labels): (&str, &str),
    bound: Option<f64>,
    value: Number,
) {
    let separator = if labels.is_empty() { "" } else { "," };
    for part in [name, suffix, "{worker=\"", number, "\"", separator, labels] {
        text.push_str(part);
    }
    let _ = match bound {
        Some(bound) => write!(text, ",le=\"{}\"}} {}", Bound(bound), Shown(value)),
        None => write!(text, "}} {}", Shown(value)),
    };
    text.push('\n');
}

/// The gatherer's own families.
fn own(slots: &Slots, left_out: &[LeftOut], fetches: Fetches) -> String {
    let mut page = Page::new(FORMAT);
    let mut write = |name: &str, kind, help: &str, label: &str, rows: &[(&str, u64)]| {
        let name = format!("{OWN_PREFIX}{name}");
        let mut family = page.family(&name, kind, help);
        for (value, count) in rows {
            let labels = (!label.is_empty()).then_some((label, *value));
            family.series(labels.as_slice(), Number::from(*count));
        }
    };
    let help = "Pages of sidecars that were requested.";
    let outcomes = [("failed", fetches.failed), ("ok", fetches.ok)];
    write("fetches", Kind::Counter, help, "outcome", &outcomes);
    let help = "Series left out because of limits, or because their name means something else already.";
    write("refused_series", Kind::Counter, help, "", &[("", slots.refused)]);
    let left_out = |reason| left_out.iter().filter(|one| one.reason == reason).count() as u64;
    let late = slots.workers().filter(|(_, worker)| worker.late.is_some()).count() as u64;
    let states = [
        ("gathered", slots.workers().count() as u64 - late),
        ("late", late),
        ("no_page", left_out(Reason::NoPage)),
        ("unreachable", left_out(Reason::Unreachable)),
    ];
    let help = "Sidecars that run: on this page, with their last values because they do not answer now, \
        without a page of their own, or not reached.";
    write("workers", Kind::Gauge, help, "state", &states);
    let Ended { ok, failed, unknown } = slots.ended;
    let help = "Workers that have ended, by their exit status on the last page.";
    let results = [("failed", failed), ("ok", ok), ("unknown", unknown)];
    write("workers_ended", Kind::Counter, help, "result", &results);
    if slots.workers().next().is_some() {
        let name = format!("{OWN_PREFIX}worker_info");
        let mut family =
            page.family(&name, Kind::Gauge, "Always 1; the labels say which worker this is now.");
        for (number, worker) in slots.workers() {
            let (number, pid) = (number.to_string(), worker.sidecar.pid.to_string());
            let labels = [("worker", number), ("pid", pid), ("command", command(&worker.sidecar))];
            family.series(&labels, Number::Int(1));
        }
    }
    page.finish()
}

/// The process ids of a sidecar and of its worker.
pub(super) fn pids(sidecar: &Sidecar) -> String {
    let worker = sidecar.worker.map(|pid| format!(", worker {pid}"));
    format!("sidecar {}{}", sidecar.pid, worker.unwrap_or_default())
}

/// The start of the worker's command line, up to its first option: what follows may be secret, and others
/// read the page.
pub(super) fn command(sidecar: &Sidecar) -> String {
    let words = sidecar.command.split(' ').take(MAX_COMMAND_WORDS);
    let words: Vec<_> = words.take_while(|word| !word.starts_with('-')).collect();
    words.join(" ").chars().take(MAX_COMMAND_CHARS).collect()
}

/// The same with the metadata that distinguishes workers of one command line. Not for the page.
pub(super) fn description(sidecar: &Sidecar) -> String {
    let metadata = sidecar.metadata.chars().take(MAX_COMMAND_CHARS).collect::<String>();
    let parts = [command(sidecar), metadata];
    parts.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_only_the_start_of_a_command() {
        for (line, shown) in [
            ("python worker.py --token s", "python worker.py"),
            ("python -m worker", "python"),
            ("sh", "sh"),
            ("a b c", "a b"),
            (&"ü".repeat(101), &"ü".repeat(100)),
        ] {
            let sidecar = Sidecar { command: line.to_owned(), ..Sidecar::example(1) };
            assert_eq!(command(&sidecar), shown);
        }
    }
}
