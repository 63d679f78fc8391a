//! Serving recordings.

use super::session::Session;
use crate::{
    config::Replay,
    log::{Log, Verbosity},
    pace::Pace,
    pipeline::Pipeline,
    publisher::Waiting,
    replay,
    worker::Exit,
};
use std::sync::Arc;

/// Serves the recordings, one after the other, and ends when all is delivered.
pub fn run(mut config: Replay) -> Result<Exit, String> {
    let recordings = replay::open(&config.files)?;
    // Log lines are printed between reads.
    let log = Log::new(config.serve.verbosity, || {});
    let (session, socket_files) = Session::start(&mut config.serve, None, &log)?;
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
    let summary = session.finish();
    if config.serve.verbosity > Verbosity::Silent {
        pipeline.print_last(&summary);
    }
    drop(socket_files);
    result.map(|()| Exit::Code(0))
}
