//! The summary as a person reads it.

use super::Run;
use crate::{
    event::stats::ConsumerStats,
    exporter::{
        counters::Counter as _,
        digest::table::{Order, measurements, operations},
        otlp,
    },
    hub::ConsumerAccount,
    pipeline::output::Loss,
    status::text::subscribers,
    system::{log::PROGRAM, visible::one_line},
    terminal::{
        number::{bytes, counted, grouped, seconds},
        screen::Screen,
        table::{Column, Table, cut},
    },
    worker::{End, Exit, exit::signal_name},
};
use ratatui::{
    style::Stylize as _,
    text::{Line, Span},
};

/// The most rows of a table, so that the summary does not push the worker's own last lines far away.
const MAX_ROWS: usize = 20;

/// The width of the program's name. Others are longer only in tests and caches.
const MAX_PROGRAM: usize = 32;

/// The summary as lines.
pub fn lines(run: &Run<'_>, screen: &Screen) -> Vec<Line<'static>> {
    // The empty line also ends what a terminal has echoed of Ctrl-C.
    let mut lines = vec![Line::default(), Line::from(heading(run, screen)).bold()];
    let sorted = Order::Time.sorted(run.digest);
    let left_out = sorted.len().saturating_sub(MAX_ROWS);
    let rows = sorted.into_iter().take(MAX_ROWS).chain(run.digest.other());
    add(&mut lines, &operations(rows.map(|operation| (operation, None))), left_out, screen);
    let left_out = run.digest.measurements().count().saturating_sub(MAX_ROWS);
    let rows = run.digest.measurements().take(MAX_ROWS);
    add(&mut lines, &measurements(rows, run.digest.other_values(), screen), left_out, screen);
    add(&mut lines, &destinations(run), 0, screen);
    lines.extend(not_summarized(run).map(|text| Line::from(text).yellow()));
    lines
}

/// Adds a table, if it has rows, and how many rows it does not have.
fn add(lines: &mut Vec<Line<'static>>, table: &Table, left_out: usize, screen: &Screen) {
    if table.is_empty() {
        return;
    }
    lines.push(Line::default());
    lines.extend(table.lines(screen));
    if left_out > 0 {
        let rest = grouped(left_out as u64);
        lines.push(Line::from(format!("{rest} more (--summary json FILE has all)")).dim());
    }
}

/// What ended, how, and after which time.
fn heading(run: &Run<'_>, screen: &Screen) -> String {
    let sources = &run.report.hub.sources;
    let observed = sources.observed.unwrap_or(0);
    let mut events = counted(sources.events().saturating_sub(observed), "event");
    if observed > 0 {
        events = format!("{events} and {} observed", grouped(observed));
    }
    let time = seconds(run.time.as_secs_f64());
    let program = run.program.map(|program| cut(&one_line(program), MAX_PROGRAM, screen.charset.ellipsis()));
    let Some(program) = program else {
        return format!("{PROGRAM}: replay ended after {time}, {events}");
    };
    let worker = run.report.worker;
    let Some(End { exit, reason, usage, .. }) = worker.and_then(|worker| worker.end) else {
        return format!("{PROGRAM}: {program} still runs after {time}, {events}");
    };
    let end = match exit {
        Exit::Code(code) => format!("exited with {code}"),
        Exit::Signal(number) => format!("was killed by {}", signal_name(number)),
    };
    let note = reason.note();
    let sampled = worker.and_then(|worker| worker.vitals);
    let cpu = sampled.map_or(usage.cpu(), |seen| seen.latest.cpu.total());
    let memory = match sampled {
        Some(seen) => seen.peak_rss_bytes.map(|peak| format!(", peak memory {}", bytes(peak))),
        None => Some(format!(", largest process {}", bytes(usage.max_rss_bytes))),
    };
    let used = seconds(cpu.as_secs_f64()) + &memory.unwrap_or_default();
    format!("{PROGRAM}: {program} {end}{note} after {time} (CPU {used}), {events}")
}

/// Where the events went.
fn destinations(run: &Run<'_>) -> Table {
    let mut table = Table::new([
        Column::text("DESTINATION").cut_to(16),
        Column::number("DELIVERED"),
        Column::number("NOT WANTED").dropped(1),
        Column::number("LOST"),
    ]);
    let count = |count| if count > 0 { grouped(count) } else { String::new() };
    let mut row = |name: String, stats: &ConsumerStats, delivered: String, lost: String| {
        let not_wanted = stats.disabled + stats.filtered + stats.sampled_out;
        table.row([name.into(), delivered.into(), count(not_wanted).into(), Span::from(lost).red()]);
    };
    let stats = &run.report.subscribers;
    let lost = count(stats.dropped + stats.queued);
    row(subscribers(run.report.subscriber_count), stats, grouped(stats.delivered), lost);
    for exporter in &run.report.hub.exporters {
        let stats = &exporter.stats;
        let lost = stats.dropped + stats.queued + stats.abandoned;
        let (delivered, lost) = if exporter.name == otlp::NAME {
            (sent_by_otlp(exporter), lost_by_otlp(run, lost))
        } else {
            (grouped(stats.delivered), count(lost))
        };
        row(destination(run, &exporter.name), stats, delivered, lost);
    }
    if let Some(recording) = run.report.recording {
        let lost = if recording.bytes_lost > 0 { bytes(recording.bytes_lost) } else { String::new() };
        let written = Span::from(bytes(recording.bytes_written));
        table.row([destination(run, "record").into(), written, Span::default(), Span::from(lost).red()]);
    }
    table
}

/// What a collector has accepted: the exporter makes spans and data points of events, and log
/// records of lines.
fn sent_by_otlp(exporter: &ConsumerAccount) -> String {
    let sent = |counter: otlp::Counter| {
        let counters = exporter.counters.iter();
        counters.filter(|(name, _)| *name == counter.name()).map(|(_, count)| *count).sum()
    };
    let spans = sent(otlp::Counter::SpansExported);
    let text = list([
        (spans, "span"),
        (sent(otlp::Counter::PointsExported), "data point"),
        (sent(otlp::Counter::LogsExported), "log line"),
    ]);
    if text.is_empty() { "0".to_owned() } else { text }
}

/// What no collector has accepted, and the events that were lost before.
fn lost_by_otlp(run: &Run<'_>, events: u64) -> String {
    let lost = |unit| {
        let counts = run.undelivered.iter().filter(|(name, _)| name == otlp::NAME);
        let counts = counts.filter_map(|(_, loss)| match loss {
            Loss::Undelivered { what, count, .. } if *what == unit => Some(*count),
            _ => None,
        });
        (counts.sum(), unit)
    };
    list([lost("span"), lost("data point"), lost("log line"), (events, "event")])
}

/// `31 spans, 7 data points`: only what there is.
fn list<const N: usize>(counts: [(u64, &str); N]) -> String {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| counted(count, what)).collect::<Vec<_>>().join(", ")
}

/// An output with its file or address, if that is known.
fn destination(run: &Run<'_>, name: &str) -> String {
    match run.destinations.iter().find(|(known, _)| *known == name) {
        Some((_, destination)) => one_line(&format!("{name} {destination}")),
        None => name.to_owned(),
    }
}

/// What the tables do not count.
fn not_summarized(run: &Run<'_>) -> Option<String> {
    let ConsumerStats { dropped, queued, abandoned, filtered, disabled, .. } = run.report.summary?;
    let reasons = [
        (dropped + queued + abandoned, "not read in time"),
        (filtered, "left out by --allow and --deny"),
        (disabled, "left out by --disabled"),
    ];
    let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<_> = reasons.map(|(count, why)| counted(count, "event") + " " + why).collect();
    (!reasons.is_empty()).then(|| format!("Not in this summary: {}", reasons.join(", ")))
}
