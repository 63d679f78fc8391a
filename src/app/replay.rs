//! `replay`: serves recordings.

use super::{
    ready_file::ReadyFile,
    session::{Finished, Session},
    socket_files::SocketFiles,
};
use crate::{
    config::{Replay, Serve},
    pipeline::{
        Pipeline,
        output::Mode,
        pace::Pace,
        publisher::Waiting,
        recording::{self, Recording},
    },
    system::log::{self, Level},
    worker::{Exit, exit::FAILED, signals::Ending},
};
use std::{sync::Arc, thread};

/// Serves the recordings, one after the other, and ends when all is delivered. If something could not be
/// delivered it reports that and fails.
pub fn run(mut config: Replay, ready_file: Option<ReadyFile>) -> Result<Exit, String> {
    let recordings = recording::open(&config.files).map_err(|error| error.to_string())?;
    refuse_to_append(&recordings, &config.serve)?;
    let socket_files = SocketFiles::default();
    end_on_signals(&socket_files)?;
    // Log lines are printed between reads.
    let log = log::start(config.serve.serving.log(), || {});
    let session = Session::start(&mut config.serve, ready_file, Mode::Replay, &socket_files, &log);
    let session = session.map_err(|error| error.to_string())?;
    let need_subscriber = config.wait_for_subscribers > 0;
    let publisher =
        Waiting { hub: Arc::clone(&session.hub), need_subscriber, pace: config.pace.then(Pace::default) };
    let mut pipeline = Pipeline::new(session.parts(&mut config.serve, publisher));

    session.hub.wait_for_subscribers(config.wait_for_subscribers);
    let mut result = Ok(());
    for recording in recordings {
        result = result.and(recording.feed(&mut pipeline, config.pace, |_| false));
    }
    session.hub.wait_until_delivered(need_subscriber);
    let Finished { losses, summary } = session.finish(|| pipeline.print_log());
    let is_complete = losses.is_empty();
    if config.serve.serving.log().level > Level::Off {
        pipeline.print_last(&summary);
    } else if !is_complete {
        // Make the lines about losses start at the beginning of a line.
        pipeline.print_last("");
    }
    for (name, loss) in losses {
        log::error_line(format_args!("{name}: {loss}"));
    }
    result.map(|()| Exit::Code(if is_complete { 0 } else { FAILED })).map_err(|error| error.to_string())
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

/// Lets signals end this process as they end any other, after the socket files are removed.
fn end_on_signals(socket_files: &SocketFiles) -> Result<(), String> {
    let wrong = |error| format!("cannot prepare for signals: {error}");
    // Threads started later inherit the blocked signals.
    let ending = Ending::block().map_err(|error| wrong(error.into()))?;
    let remover = socket_files.remover();
    let wait = move || {
        if let Some(signal) = ending.wait() {
            remover.remove();
            signal.leave();
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(wrong)
}
