//! The tables of workers, operations and measurements. `--once` prints the tables that the live view draws.

use super::{
    model::Model,
    pace::Pace,
    recorded::COMPLETE,
    window::Rates,
    worker::{Id, State, Worker},
};
use crate::{
    exporter::digest::{Digest, Measurement, Operation},
    fleet::ended::how_ended,
    terminal::{
        number::{bytes, counted, grouped, rate, seconds, short, uptime},
        screen::Screen,
        sparkline::bars,
        table::{Column, Table},
    },
};
use ratatui::{
    style::{Style, Stylize as _},
    text::{Line, Span},
};

/// What separates the parts of the summary.
const GAP: &str = "  ";

/// How many workers there are and what they do, in one line.
pub(super) fn summary(model: &Model) -> Line<'static> {
    let (all, running) = (model.workers.len(), model.running().count());
    let recordings = model.workers.iter().filter(|worker| worker.joined.is_recording).count();
    let failed = model.failed() as u64;
    let mut spans = Vec::new();
    let alarm = |count: u64| if count > 0 { Style::new().red().bold() } else { Style::new() };
    let mut add = |separator: &'static str, text: String, style: Style| {
        if !spans.is_empty() {
            spans.push(Span::from(separator));
        }
        spans.push(Span::styled(text, style));
    };
    if recordings > 0 {
        add(GAP, counted(recordings as u64, "recording"), Style::new().bold());
    }
    let mut before_failed = GAP;
    if recordings < all || all == 0 {
        let running = running - model.running().filter(|worker| worker.joined.is_recording).count();
        add(GAP, counted(running as u64, "worker"), Style::new().bold());
        let ended = all - recordings - running;
        if ended > 0 {
            add(GAP, format!("{ended} ended"), Style::new());
            before_failed = ", ";
        }
    }
    if failed > 0 {
        add(before_failed, format!("{} failed", grouped(failed)), alarm(failed));
    }
    if let Some(per_second) = model.rate() {
        add(GAP, rate(per_second).replace("/s", " events/s"), Style::new());
    }
    let events = model.events();
    let events = if events == 1 { "1 event".into() } else { format!("{} events", short(events)) };
    add(GAP, events, Style::new());
    let (errors, lost) = (model.errors(), model.lost());
    add(GAP, counted(errors, "error"), alarm(errors));
    add(GAP, format!("{} lost", grouped(lost)), alarm(lost));
    Line::from(spans)
}

/// The state of a worker.
pub(super) fn state(worker: &Worker) -> Span<'static> {
    let how = match &worker.state {
        State::Connecting => return Span::from("connecting"),
        State::Running => return Span::from(worker.remark.clone().unwrap_or_default()).yellow(),
        State::Problem(text) => return Span::from(text.clone()).yellow(),
        State::Ended(how) => how,
    };
    // A recording, perhaps with lines that are no events.
    let lines = how.strip_prefix(COMPLETE).filter(|_| worker.joined.is_recording);
    let text = match (lines, worker.observed.how_ended()) {
        (Some(lines), Some(ended)) => format!("{ended}{lines}"),
        _ => how_ended(how),
    };
    match lines {
        _ if worker.has_failed() => Span::from(text).red(),
        Some("") => Span::from(text),
        Some(_) => Span::from(text).yellow(),
        None if worker.joined.is_recording => Span::from(text).red(),
        None => Span::from(text),
    }
}

/// Workers, and the ids of the rows. The course of the last minute is of use in a live view.
pub(super) fn workers(workers: &[&Worker], screen: &Screen, is_live: bool) -> (Table, Vec<Id>) {
    let mut table = Table::new([
        Column::number("PID"),
        Column::text("COMMAND").cut_to(20),
        Column::text("STATE").cut_to(8),
        Column::number("UP").dropped(2),
        Column::number("EVENTS"),
        Column::number("RATE"),
        Column::text("LAST MINUTE").dropped(5),
        Column::number("ERRORS"),
        Column::number("P95").dropped(6),
        Column::number("SUBS").dropped(4),
        Column::number("LOST").dropped(1),
        Column::number("RSS").dropped(3),
        Column::number("CPU").dropped(3),
    ]);
    let course = if !is_live {
        0
    } else if screen.width.is_none_or(|width| width >= 120) {
        30
    } else {
        12
    };
    for worker in workers {
        let alarm = |count: u64| {
            let text = Span::from(short(count));
            if count > 0 { text.red() } else { text }
        };
        let text = |text: Option<String>| Span::from(text.unwrap_or_default());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
        let rss = worker.rss_bytes().map(|rss| bytes(rss as u64));
        let cpu = worker.cpu_percent().map(|cpu| format!("{cpu:.0}%"));
        let (subscribers, lost) = if worker.joined.is_recording {
            (Span::default(), Span::default())
        } else {
            (Span::from(worker.subscribers.to_string()), alarm(worker.lost))
        };
        let dimmed = |span: Span<'static>| {
            if worker.has_ended() && !worker.joined.is_recording && span.style.fg.is_none() {
                span.dim()
            } else {
                span
            }
        };
        let cells = [
            text(worker.joined.pid.map(|pid| pid.to_string())),
            Span::from(worker.joined.name.clone()),
            state(worker),
            text(worker.up().map(uptime)),
            Span::from(short(worker.events())),
            text(worker.rate().map(rate)),
            Span::from(bars(&worker.window.course(), course, screen.charset)).cyan(),
            alarm(worker.errors()),
            text(worker.digest.durations().quantile(0.95).map(seconds)),
            subscribers,
            lost,
            text(rss),
            text(cpu),
        ];
        table.row(cells.map(dimmed));
    }
    (table, workers.iter().map(|worker| worker.id).collect())
}

/// The rate at which an operation ends, if it is known.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn operation_rate(
    digest: &Digest,
    rates: &Rates,
    pace: Pace,
    operation: &Operation,
) -> Option<f64> {
    match pace {
        Pace::Mean(seconds) => Some(operation.count() as f64 / seconds),
        Pace::Unknown => None,
        Pace::Live => rates.of(digest, operation),
    }
}

/// The dotted name of a measurement.
pub(super) fn measurement_name((operation, measurement): &(&Operation, &Measurement)) -> String {
    format!("{}.{}", operation.name, measurement.key)
}
