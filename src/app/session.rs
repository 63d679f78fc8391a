//! What wrapping and replaying share: one order of start and one order of drain for all outputs.
//!
//! Start: bind listeners, open the recording, start exporters, write the ready file, announce, serve gRPC. At
//! the end: close the hub, linger, drain all outputs up to one deadline, finish the recording, report.

use super::{
    ready_file::ReadyFile,
    socket_files::SocketFiles,
    start::{announce, bind, start_recording},
};
use crate::{
    config::Serve,
    grpc::{auth::Access, server::Server},
    hub::Hub,
    input::{decode::Decoder, dialect, splitter::Splitter},
    pipeline::{
        Parts, Publisher,
        output::{Context, Drain, Loss, Mode, Output as _, Running, StartError, by},
        passthrough::Passthrough,
        record::Recorder,
    },
    status::{Status, text::summary},
    system::{log, option::Several, thread},
    worker::startup::was_closed,
};
use std::{
    io::{self, Stderr},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;

/// Everything except the source: hub, recording and outputs.
pub struct Session {
    pub hub: Arc<Hub>,
    recorder: Option<Arc<Recorder>>,
    /// The sources of the report at the end.
    status: Status,
    outputs: Outputs,
    /// Runs the drain. Created at the start, because clients may use up all descriptors later.
    runtime: Runtime,
    log: log::Lines,
}

/// The result of a session.
pub struct Finished {
    /// What could not be delivered, with the output's name.
    pub losses: Vec<(&'static str, Loss)>,
    /// All counters, as a line to print.
    pub summary: String,
}

impl Session {
    /// Binds, opens and starts everything that can fail, so that nothing can fail once the worker runs.
    pub fn start(
        config: &mut Serve,
        ready_file: Option<ReadyFile>,
        mode: Mode,
        socket_files: &SocketFiles,
        log: &log::Lines,
    ) -> Result<Self, StartError> {
        let access = Access::load(std::mem::take(&mut config.access))?;
        let listeners = bind(config, socket_files)?;
        let recorder = config.source.record.as_ref().map(start_recording).transpose()?;
        let hub = Hub::bounded(config.controls.clone(), config.limits, config.total_queue_bytes);
        let drain = match mode {
            Mode::Live(_) => Drain::Within(config.serving.drain_timeout.0),
            Mode::Replay => Drain::Complete,
        };
        let mut context = Context::new(Arc::clone(&hub), mode, drain, config.serving.linger.0);
        context.recording = recorder.as_ref().map(|recorder| Arc::clone(recorder.counters()));
        let mut exporters = Vec::new();
        for exporter in std::mem::take(&mut config.exporters) {
            let running = exporter.start(&context)?;
            context.served.extend(running.address.map(|address| (running.name, address)));
            exporters.push(running);
        }
        if config.disabled && !exporters.is_empty() {
            tracing::info!("--disabled: exporters stay disabled, too, and export nothing");
        }
        if let Some(file) = ready_file {
            file.write(&listeners, &context.served).map_err(StartError::Option)?;
        }
        if config.serving.announces() {
            announce(&listeners);
        }
        for listener in &listeners {
            tracing::info!("listening at {listener}");
        }
        let server = Box::new(Server { listeners, access, limits: config.client_limits }).start(&context)?;
        let outputs = Outputs {
            hub: Arc::clone(&hub),
            exporters,
            server,
            drain,
            linger: config.serving.linger.0,
            shutdown: context.shutdown,
        };
        let runtime = thread::runtime().enable_time().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        let status = Status::new(Arc::clone(&hub), context.mode.worker().cloned(), context.recording);
        Ok(Self { hub, recorder, status, outputs, runtime, log: log.clone() })
    }

    /// The sources of a report.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The parts of a pipeline for this session.
    pub fn parts<P: Publisher>(&self, config: &mut Serve, publisher: P) -> Parts<P, Stderr> {
        let metadata = Several::flatten(std::mem::take(&mut config.source.metadata));
        Parts {
            splitter: Splitter::new(
                &dialect::SNAKEPIT,
                config.framing.embedded,
                config.framing.max_line_bytes,
            ),
            decoder: Decoder::new(&dialect::SNAKEPIT, metadata.map(|given| given.value).collect()),
            publisher,
            // If stderr was closed, Rust's runtime has opened /dev/null in its place.
            passthrough: if was_closed(2) {
                Passthrough::closed(io::stderr())
            } else {
                Passthrough::new(io::stderr())
            },
            recorder: self.recorder.clone(),
            log: self.log.clone(),
        }
    }

    /// Ends the stream and waits until it is delivered, or the time for that is over. Meanwhile log lines are
    /// printed.
    pub fn finish(self, mut print_log: impl FnMut()) -> Finished {
        self.hub.close();
        let drained = self.runtime.block_on(async {
            let mut drained = pin!(self.outputs.drain());
            loop {
                match timeout(log::PRINT_INTERVAL, &mut drained).await {
                    Ok(drained) => break drained,
                    Err(_) => print_log(),
                }
            }
        });
        if drained.timed_out {
            tracing::info!("drain timeout expired; queued events are abandoned");
        }
        if let Some(recorder) = &self.recorder {
            recorder.finish(drained.deadline);
        }
        Finished { losses: drained.losses, summary: summary(&self.status.report()) }
    }
}

/// The running outputs, and how they end.
struct Outputs {
    hub: Arc<Hub>,
    exporters: Vec<Running>,
    server: Running,
    drain: Drain,
    linger: Duration,
    /// Ends the server.
    shutdown: CancellationToken,
}

/// How the outputs ended.
struct Drained {
    losses: Vec<(&'static str, Loss)>,
    /// Whether some had not drained at the deadline.
    timed_out: bool,
    deadline: Option<std::time::Instant>,
}

impl Outputs {
    /// Lingers, then waits for all outputs up to one deadline, whether they drain, hang or have ended
    /// already.
    async fn drain(self) -> Drained {
        // A timeout of zero would still take a tick of the clock.
        if !self.linger.is_zero() {
            let _ = timeout(self.linger, self.hub.lingered()).await;
        }
        let deadline = self.drain.deadline();
        let mut drained =
            Drained { losses: Vec::new(), timed_out: false, deadline: deadline.map(Into::into) };
        // In a replay the exporters may wait long for their servers; meanwhile the status is still served.
        if deadline.is_some() {
            self.shutdown.cancel();
        }
        for exporter in self.exporters {
            drained.wait_for(exporter, deadline).await;
        }
        self.shutdown.cancel();
        drained.wait_for(self.server, deadline).await;
        drained
    }
}

impl Drained {
    async fn wait_for(&mut self, mut output: Running, deadline: Option<tokio::time::Instant>) {
        if let Some(losses) = by(deadline, &mut output).await {
            self.losses.extend(losses.into_iter().map(|loss| (output.name, loss)));
            by(deadline, output.closed()).await;
        } else {
            self.timed_out = true;
        }
    }
}

#[cfg(test)]
mod tests;
