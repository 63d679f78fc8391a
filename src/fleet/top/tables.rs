//! The tables of workers, operations and measurements. `--once` prints the tables that the live view draws.

use super::{
    model::Model,
    worker::{Id, Pace, Rates, State, Worker},
};
use crate::{
    exporter::digest::{Digest, Measurement, Operation, table::Order},
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

/// The order of workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum WorkerOrder {
    /// In the order in which they joined.
    #[default]
    Joined,
    Rate,
    Errors,
    /// The slowest 95th percentile of all operations first.
    Slowest,
    Lost,
    Name,
}

impl WorkerOrder {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Joined => "start",
            Self::Rate => "rate",
            Self::Errors => "errors",
            Self::Slowest => "p95",
            Self::Lost => "lost",
            Self::Name => "name",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Joined => Self::Rate,
            Self::Rate => Self::Errors,
            Self::Errors => Self::Slowest,
            Self::Slowest => Self::Lost,
            Self::Lost => Self::Name,
            Self::Name => Self::Joined,
        }
    }

    /// Sorts workers; those that have ended are last. Equal ones are in the order in which they joined.
    pub(super) fn sort(self, workers: &mut [&Worker]) {
        let rate = |worker: &Worker| worker.rate().unwrap_or(-1.0);
        let p95 = |worker: &Worker| worker.digest.durations().quantile(0.95).unwrap_or(-1.0);
        match self {
            Self::Joined => {}
            Self::Rate => workers.sort_by(|one, other| rate(other).total_cmp(&rate(one))),
            Self::Errors => workers.sort_by_key(|worker| std::cmp::Reverse(worker.errors())),
            Self::Slowest => workers.sort_by(|one, other| p95(other).total_cmp(&p95(one))),
            Self::Lost => workers.sort_by_key(|worker| std::cmp::Reverse(worker.lost)),
            Self::Name => workers.sort_by(|one, other| one.joined.name.cmp(&other.joined.name)),
        }
        workers.sort_by_key(|worker| worker.has_ended() && !worker.joined.is_recording);
    }
}

/// The names of the orders of operations.
pub(super) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Time => "time",
        Order::Count => "count",
        Order::Errors => "errors",
        Order::Slowest => "p95",
        Order::Name => "name",
    }
}

pub(super) fn next_order(order: Order) -> Order {
    match order {
        Order::Time => Order::Count,
        Order::Count => Order::Errors,
        Order::Errors => Order::Slowest,
        Order::Slowest => Order::Name,
        Order::Name => Order::Time,
    }
}

/// How many workers there are and what they do, in one line.
pub(super) fn summary(model: &Model) -> Line<'static> {
    let (all, running) = (model.workers.len(), model.running().count());
    let recordings = model.workers.iter().filter(|worker| worker.joined.is_recording).count();
    let mut spans = Vec::new();
    let mut add = |text: String, style: Style| {
        if !spans.is_empty() {
            spans.push(Span::from("  "));
        }
        spans.push(Span::styled(text, style));
    };
    if recordings > 0 {
        add(counted(recordings as u64, "recording"), Style::new().bold());
    }
    if recordings < all || all == 0 {
        let running = running - model.running().filter(|worker| worker.joined.is_recording).count();
        add(counted(running as u64, "worker"), Style::new().bold());
        let ended = all - recordings - running;
        if ended > 0 {
            add(format!("{ended} ended"), Style::new());
        }
    }
    if let Some(per_second) = model.rate() {
        add(rate(per_second).replace("/s", " events/s"), Style::new());
    }
    let events = model.events();
    add(if events == 1 { "1 event".into() } else { format!("{} events", short(events)) }, Style::new());
    let (errors, lost) = (model.errors(), model.lost());
    let alarm = |count: u64| if count > 0 { Style::new().red().bold() } else { Style::new() };
    add(counted(errors, "error"), alarm(errors));
    add(format!("{} lost", grouped(lost)), alarm(lost));
    Line::from(spans)
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
        let state = match &worker.state {
            State::Connecting => Span::from("connecting"),
            State::Running => Span::from(worker.remark.clone().unwrap_or_default()).yellow(),
            State::Problem(text) => Span::from(text.clone()).yellow(),
            State::Ended(how) if how == "ended" || how == "exit 0" || how == "complete" => {
                Span::from(how_ended(how))
            }
            // A recording with lines that are no events.
            State::Ended(how) if how.starts_with("complete, ") => Span::from(how.clone()).yellow(),
            State::Ended(how) => Span::from(how_ended(how)).red(),
        };
        let text = |text: Option<String>| Span::from(text.unwrap_or_default());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
        let rss = worker.vital("memory.sampled", "rss_bytes").map(|rss| bytes(rss as u64));
        let cpu = worker.vital("cpu.sampled", "cpu_percent").map(|cpu| format!("{cpu:.0}%"));
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
            state,
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
