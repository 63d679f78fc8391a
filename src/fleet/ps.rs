//! `ps`: a table of the sidecars that run on this host.

use super::{
    client::{ClientAccess, ClientError, Connection, Connector},
    discover::{self, Sidecar},
    error::FleetError,
    json_line, printed,
    probe::{Answer, each},
};
use crate::{
    event::proto::sidecar::{GetStatusResponse, Worker},
    status::account::{
        lost_events, lost_log_lines, malformed_lines, malformed_messages, memory_note, total, waits,
    },
    system::{log::error_line, thread, visible::one_line},
    terminal::{
        number,
        screen::Screen,
        table::{Column, Table},
    },
    worker::{Exit, exit::signal_name},
};
use ratatui::{style::Stylize as _, text::Span};
use serde::Serialize;
use std::{
    io,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tokio::time::{Instant, sleep_until};

/// The time over which rates are measured.
const RATE_INTERVAL: Duration = Duration::from_millis(500);

/// The state is not cut to fewer characters: other columns are cut or left out before it.
const STATE_WIDTH: usize = 40;

/// Prints the sidecars: as a table, or as JSON objects with one on each line.
///
/// # Errors
///
/// If a file of the options cannot be used, `/proc` cannot be read or standard output fails.
pub fn run(json: bool, access: &ClientAccess) -> Result<Exit, FleetError> {
    let connector = Arc::new(Connector::new(access)?);
    let found = discover::sidecars().map_err(FleetError::Find)?;
    let left_out = found.left_out();
    let runtime = thread::runtime().enable_all().build().map_err(FleetError::Start)?;
    let rows = runtime.block_on(rows(connector, found.sidecars));
    match left_out {
        _ if !rows.is_empty() => {
            printed(&if json { json_lines(&rows) } else { table(&rows) })?;
            left_out.iter().for_each(error_line);
        }
        _ => error_line(discover::none_found("", left_out.as_deref())),
    }
    Ok(Exit::Code(0))
}

/// A sidecar and what it answered.
struct Row {
    sidecar: Sidecar,
    answer: Result<Answered, ClientError>,
}

struct Answered {
    status: GetStatusResponse,
    /// Events each second; none if it stopped answering.
    rate: Option<f64>,
}

/// Asks each sidecar twice, because the difference is the rate.
async fn rows(connector: Arc<Connector>, sidecars: Vec<Sidecar>) -> Vec<Row> {
    let ask = |sidecar: Sidecar| {
        let connector = Arc::clone(&connector);
        async move {
            let answer = connector.found(&sidecar).await;
            (sidecar, answer, Instant::now())
        }
    };
    let first = each(sidecars, ask).await;
    if first.iter().any(|(_, answer, _)| answer.is_ok()) {
        sleep_until(Instant::now() + RATE_INTERVAL).await;
    }
    let ask = |(sidecar, answer, asked)| async move { Row { sidecar, answer: again(answer, asked).await } };
    each(first, ask).await
}

async fn again(answer: Answer, asked: Instant) -> Result<Answered, ClientError> {
    let (connection, before): (Connection, _) = answer?;
    Ok(match connection.status_soon().await {
        Ok(status) => {
            #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
            let events = status.events.saturating_sub(before.events) as f64;
            Answered { rate: Some(events / asked.elapsed().as_secs_f64()), status }
        }
        // It ended meanwhile.
        Err(_) => Answered { rate: None, status: before },
    })
}

fn table(rows: &[Row]) -> String {
    let screen = Screen::of(io::stdout());
    let mut table = Table::new([
        Column::number("SIDECAR"),
        Column::number("WORKER").dropped(3),
        Column::text("COMMAND").cut_to(12),
        Column::text("ADDRESS").cut_to(16).dropped(1),
        Column::number("UP").dropped(4),
        Column::number("EVENTS"),
        Column::number("RATE").dropped(2),
        Column::number("SUBS").dropped(5),
        Column::number("LOST"),
        Column::text("STATE").cut_to(STATE_WIDTH),
    ]);
    for row in rows {
        table.row(cells(row));
    }
    screen.text(&table.lines(&screen))
}

fn cells(Row { sidecar, answer }: &Row) -> [Span<'static>; 10] {
    let status = answer.as_ref().ok().map(|answered| &answered.status);
    let listeners = sidecar.grpc_listeners(status);
    let listeners: Vec<_> = listeners.iter().map(|address| one_line(&address.to_string())).collect();
    let count = |count: Option<u64>| Span::from(count.map(number::short).unwrap_or_default());
    let rate = answer.as_ref().ok().and_then(|answered| answered.rate);
    [
        Span::from(sidecar.pid.to_string()),
        Span::from(worker(sidecar, status).map(|pid| pid.to_string()).unwrap_or_default()),
        Span::from(sidecar.short_command()),
        Span::from(listeners.join(", ")),
        Span::from(number::uptime(sidecar.uptime())),
        count(status.map(|status| status.events)),
        Span::from(rate.map(number::rate).unwrap_or_default()),
        count(status.map(|status| status.subscribers.len() as u64)),
        count(status.map(lost).filter(|lost| *lost > 0)).red(),
        match answer {
            Ok(answered) => state(&answered.status),
            Err(error) => Span::from(error.brief()).yellow(),
        },
    ]
}

/// Events and log lines.
fn lost(status: &GetStatusResponse) -> u64 {
    total([lost_events(status), lost_log_lines(status)])
}

/// The worker's process id while it runs.
fn worker(sidecar: &Sidecar, status: Option<&GetStatusResponse>) -> Option<u32> {
    match status {
        Some(GetStatusResponse { worker, .. }) => {
            worker.filter(|worker| worker.running).map(|worker| worker.pid)
        }
        None => sidecar.worker,
    }
}

/// Anything unusual: a waiting replay, an exited worker, malformed lines.
fn state(status: &GetStatusResponse) -> Span<'static> {
    let malformed = total([malformed_lines(status), malformed_messages(status)]);
    let texts =
        [waits(status), ended(status), (malformed > 0).then(|| number::counted(malformed, "malformed line"))];
    let text = texts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if malformed > 0 { Span::from(text).yellow() } else { Span::from(text) }
}

/// How the worker ended, if it has: the sidecar still delivers events.
fn ended(status: &GetStatusResponse) -> Option<String> {
    match status.worker? {
        Worker { running: true, .. } => None,
        worker @ Worker { exit_code: Some(code), .. } => {
            Some(format!("worker exited with {code}{}", memory_note(&worker)))
        }
        worker @ Worker { exit_signal: Some(signal), .. } => {
            Some(format!("worker killed by {}{}", signal_name(signal), memory_note(&worker)))
        }
        _ => None,
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Object<'a> {
    pid: u32,
    /// The user id.
    uid: u32,
    /// Null in a replay, and once the worker has ended.
    worker_pid: Option<u32>,
    command: &'a str,
    addresses: Vec<String>,
    metrics_address: Option<&'a str>,
    start_time_unix_nano: u64,
    uptime_seconds: f64,
    /// Null, like the following ones, if there is an error.
    events: Option<u64>,
    events_per_second: Option<f64>,
    subscribers: Option<u64>,
    lost_events: Option<u64>,
    lost_log_lines: Option<u64>,
    /// Null while the worker runs as well.
    worker_end: Option<WorkerEnd>,
    error: Option<String>,
}

/// How a worker ended. Named as in `status --json`.
#[derive(Serialize)]
struct WorkerEnd {
    exit_code: Option<i32>,
    exit_signal: Option<i32>,
    end_reason: Option<&'static str>,
}

fn worker_end(worker: &Worker) -> Option<WorkerEnd> {
    let Worker { exit_code, exit_signal, .. } = *worker;
    let has_ended = exit_code.is_some() || exit_signal.is_some();
    has_ended.then(|| WorkerEnd { exit_code, exit_signal, end_reason: worker.end_reason().text() })
}

fn json_lines(rows: &[Row]) -> String {
    let lines = rows.iter().map(|Row { sidecar, answer }| {
        let status = answer.as_ref().ok().map(|answered| &answered.status);
        let started = sidecar.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        json_line(&Object {
            pid: sidecar.pid,
            uid: sidecar.uid,
            worker_pid: worker(sidecar, status),
            command: &sidecar.command,
            addresses: sidecar.grpc_listeners(status).iter().map(ToString::to_string).collect(),
            metrics_address: status
                .map(|status| status.prometheus_address.as_str())
                .filter(|it| !it.is_empty()),
            start_time_unix_nano: u64::try_from(started.as_nanos()).unwrap_or(u64::MAX),
            uptime_seconds: sidecar.uptime().as_secs_f64(),
            events: status.map(|status| status.events),
            events_per_second: answer.as_ref().ok().and_then(|answered| answered.rate),
            subscribers: status.map(|status| status.subscribers.len() as u64),
            lost_events: status.map(lost_events),
            lost_log_lines: status.map(lost_log_lines),
            worker_end: status.and_then(|status| worker_end(status.worker.as_ref()?)),
            error: answer.as_ref().err().map(ToString::to_string),
        })
    });
    lines.collect()
}
