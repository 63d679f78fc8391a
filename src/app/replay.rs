//! `replay`: serves recordings.

use super::{
    decode::json_lines,
    own_files::OwnFiles,
    ready_file::ReadyFile,
    session::Session,
    start::Announcement,
    summary::{Plan, Printed},
};
use crate::{
    config::{Replay, Serve},
    event::stats::StreamStats,
    pipeline::{
        Pipeline,
        output::{Mode, StartError},
        pace::Pace,
        passthrough::Passthrough,
        publisher::{Failures, Waiting},
        recording::{self, Recording},
    },
    status::{Status, text},
    system::{
        log::{self, Level},
        option::Given,
        thread,
        value::Period,
    },
    worker::{
        Exit,
        exit::{FAILED, TIMED_OUT},
        signals::Ending,
    },
};
use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread::sleep,
};

/// Serves the recordings, one after the other, and ends when all is delivered. If something could not be
/// delivered it reports that and fails.
pub fn run(
    mut config: Replay,
    ready_file: Option<ReadyFile>,
    summary_file: Option<ReadyFile>,
) -> Result<Exit, String> {
    let words = config.files.iter().map(|file| file.as_os_str().to_owned()).collect();
    let plan = Plan::new(&config.serve.summary, summary_file, config.serve.serving.quiet, words);
    let own_files = OwnFiles::default();
    end_on_signals(&own_files)?;
    let (wanted, status) = (config.wait_for_subscribers, Arc::new(OnceLock::new()));
    if let Some(timeout) = config.timeout.take() {
        end_after(timeout, &own_files, Arc::clone(&status), wanted)?;
    }
    let recordings = recording::open(&config.files).map_err(|error| error.to_string())?;
    refuse_to_append(&recordings, &config.serve)?;
    // Log lines are printed between reads and while it waits.
    let log = log::start(config.serve.serving.log(), || {});
    let (serve, is_summarized) = (&mut config.serve, plan.is_needed());
    let announcement = Announcement::new(&serve.serving, ready_file);
    let session = Session::start(serve, announcement, is_summarized, Mode::Replay, None, &own_files, &log);
    let session = session.map_err(|error| error.to_string())?;
    let status = status.get_or_init(|| session.status().clone());
    let is_quiet = config.serve.serving.quiet;
    // Messages for people go to a terminal only.
    let is_watched = !is_quiet && io::stderr().is_terminal();
    let publisher = Waiting {
        hub: Arc::clone(&session.hub),
        subscribers: wanted,
        begun: false,
        notice: (is_watched && wanted > 0)
            .then(|| format!("waiting for {}", text::subscribers(wanted as u64))),
        failures: config.fail_after.map(Failures::new),
        pace: config.pace.then(Pace::default),
    };
    let mut parts = session.parts(&mut config.serve, publisher);
    if config.no_stderr {
        parts.passthrough = parts.passthrough.without_lines();
    }
    let mut pipeline = Pipeline::new(parts);

    let mut result = Ok(());
    for recording in recordings {
        result = result.and(recording.feed(&mut pipeline, config.pace, |_| false));
    }
    let has_events = pipeline.stats().events() > 0;
    let lacks_events = !has_events && !session.exports_lines();
    let other_format = lacks_events.then(|| json_lines(&config.files)).flatten();
    if has_events {
        session.hub.wait_until_delivered(wanted > 0, &mut || pipeline.print_log());
    }
    let end = session.finish(|_| {}, || pipeline.print_log());
    let is_complete = end.losses.is_empty();
    let Printed { text, error } = plan.carry_out(None, &end);
    let is_logging = config.serve.serving.log().level > Level::Off;
    let account = if is_logging { end.account() } else { Vec::new() };
    let mut lines = end.losses;
    lines.splice(..0, error);
    if lacks_events {
        let is_reported = !is_quiet && other_format.is_none();
        lines.extend(is_reported.then(|| no_events(&config.files, pipeline.stats())));
    } else if is_watched && text.is_none() {
        lines.push(text::served(&status.report()));
    }
    if let Some(text) = &text {
        pipeline.print_text(text);
    }
    // The newline that it may need makes the lines below start at the beginning of a line, too.
    if !account.is_empty() || !lines.is_empty() || result.is_err() {
        pipeline.print_last(account);
    }
    lines.iter().for_each(log::error_line);
    result.map_err(|error| error.to_string())?;
    other_format.map_or(Ok(Exit::Code(if is_complete { 0 } else { FAILED })), Err)
}

/// The line about recordings without an event.
fn no_events(files: &[PathBuf], stats: &StreamStats) -> String {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let rejected = text::rejected(stats).map(|rejected| format!("; {rejected}"));
    format!("no events in {}{}", names.join(", "), rejected.unwrap_or_default())
}

/// Refuses outputs that append to a recording: what is appended would be read and appended again.
fn refuse_to_append(recordings: &[Recording], serve: &Serve) -> Result<(), String> {
    let appended = serve.exporters.iter().filter_map(|exporter| exporter.appends_to());
    for file in serve.source.record.iter().chain(appended) {
        if recordings.iter().any(|recording| recording.is_at(&file.value)) {
            return Err(file.origin.error("it is one of the recordings to replay"));
        }
    }
    Ok(())
}

/// Lets signals end this process as they end any other, after the sidecar's files are removed.
fn end_on_signals(own_files: &OwnFiles) -> Result<(), String> {
    let wrong = |error| format!("cannot prepare for signals: {error}");
    // Threads started later inherit the blocked signals.
    let ending = Ending::block().map_err(|error| wrong(error.into()))?;
    let remover = own_files.remover();
    let wait = move || {
        if let Some(signal) = ending.wait() {
            remover.remove();
            signal.leave();
        }
    };
    thread::spawn("signals", wait).map(drop).map_err(wrong)
}

/// Ends this process after this time, whatever its other threads are waiting for then. There is a status as
/// soon as it serves.
fn end_after(
    timeout: Given<Period>,
    own_files: &OwnFiles,
    status: Arc<OnceLock<Status>>,
    wanted: usize,
) -> Result<(), String> {
    let remover = own_files.remover();
    let wait = move || {
        sleep(timeout.value.0);
        remover.remove();
        let cause = status.get().map_or_else(
            || "the start has not ended, as for a FIFO that nobody writes to".to_owned(),
            |status| text::unfinished(&status.report(), wanted),
        );
        // It may be stderr that nobody reads.
        if Passthrough::new(io::stderr()).is_ready() {
            log::error_line(timeout.origin.error(cause));
        }
        Exit::Code(TIMED_OUT).leave()
    };
    let spawned = thread::spawn("timeout", wait);
    spawned.map(drop).map_err(|error| StartError::Thread(error).to_string())
}
