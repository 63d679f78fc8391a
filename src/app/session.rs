//! What wrapping and replaying share: one order of start and one order of drain for all outputs.
//!
//! Start: bind listeners, open the recording, start exporters, write the ready file, announce, serve gRPC,
//! open the worker's own telemetry stream. At the end: read the rest of that stream, close the hub, linger,
//! drain all outputs up to one deadline, finish the recording, report.

use super::{
    losses,
    outputs::Outputs,
    own_files::OwnFiles,
    start::{Announcement, bind, start_recording},
};
use crate::{
    config::Serve,
    exporter::{digest::Digest, summary::Summary},
    grpc::{auth::Access, server::Server},
    hub::Hub,
    input::{decode::Decoder, dialect, splitter::Splitter},
    net::listener::Listener,
    observer::Observer,
    pipeline::{
        Parts, Publisher,
        driver::Driver,
        lines::{LineTap, LineWriter},
        output::{Context, Drain, DrainEnd, Loss, Mode, StartError},
        passthrough::Passthrough,
        record::Recorder,
    },
    status::{Report, Status, account},
    system::{log, option::Several},
    upstream::{Connection, Upstream, telemetry},
    worker::startup::was_closed,
};
use std::{
    io::{self, Stderr},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Everything except the source: hub, recording and outputs.
pub struct Session {
    pub hub: Arc<Hub>,
    /// Publishes what the sidecar itself observes of the worker.
    pub observer: Observer,
    /// The port at which a client of this host can connect to `localhost`, if there is one.
    pub localhost_port: Option<u16>,
    recorder: Option<Arc<Recorder>>,
    /// Where ordinary bytes are copied to, if an output wants them.
    lines: Option<Arc<LineTap>>,
    /// The sources of the report at the end.
    status: Status,
    outputs: Outputs,
    summary: Option<Summary>,
    /// The files and addresses of outputs, by their names.
    destinations: Vec<(&'static str, String)>,
    started: Instant,
    /// The worker's own stream, if it may have one.
    telemetry: Option<telemetry::Running>,
    /// Serves gRPC and runs the drain. Created at the start: clients may use up all descriptors later.
    pub driver: Driver,
    drain_end: DrainEnd,
    log: log::Lines,
}

/// The result of a session.
pub struct Finished {
    /// What was lost: a line for each kind, to print.
    pub losses: Vec<String>,
    /// The same, with the outputs' names.
    pub undelivered: Vec<(String, Loss)>,
    /// All counters.
    pub report: Report,
    /// The operations and measurements, if they are to be summarized.
    pub digest: Option<Digest>,
    /// The files and addresses of outputs, by their names.
    pub destinations: Vec<(&'static str, String)>,
    /// How long the worker has run, or the replay took.
    pub time: Duration,
    /// Serves clients that stay connected, as long as it is driven.
    pub driver: Driver,
}

impl Finished {
    /// All counters, a line for each topic, to print.
    pub fn account(&self) -> Vec<String> {
        account::topics(&self.report.clone().into()).iter().map(ToString::to_string).collect()
    }
}

impl Session {
    /// Binds, opens and starts everything that can fail, so that nothing can fail once the worker runs.
    pub fn start(
        config: &mut Serve,
        announcement: Announcement,
        is_summarized: bool,
        mode: Mode,
        upstream: Option<Arc<Upstream>>,
        own_files: &OwnFiles,
        log: &log::Lines,
    ) -> Result<Self, StartError> {
        let access = Access::load(std::mem::take(&mut config.access))?;
        let listeners = bind(config, own_files)?;
        if let Some(address) = upstream.as_ref().and_then(|upstream| upstream.known_address())
            && listeners.iter().any(|listener| listener.is_at(address))
        {
            let error = format!("--upstream: '{address}': the sidecar itself listens there");
            return Err(StartError::Option(error));
        }
        let recorder = config.source.record.as_ref().map(start_recording).transpose()?;
        let hub = Hub::bounded(
            config.controls.clone(),
            config.limits,
            config.total_queue_bytes,
            config.flush_interval,
        );
        let mut driver = Driver::new().map_err(StartError::Thread)?;
        let drain = match mode {
            Mode::Live(_) => Drain::Within(config.serving.drain_timeout.0),
            Mode::Replay => Drain::Complete,
        };
        // A replay reads as fast as it can; relayed calls are not to wait for the worker's stderr.
        if drain == Drain::Complete || upstream.is_some() {
            driver.fix_apart().map_err(StartError::Thread)?;
        }
        let mut context = Context::new(Arc::clone(&hub), mode, drain, config.serving.linger.0);
        context.recording = recorder.as_ref().map(|recorder| Arc::clone(recorder.counters()));
        let takes_lines = config.exporters.iter().any(|output| output.takes_lines());
        context.lines = takes_lines.then(|| LineTap::new(drain == Drain::Complete));
        let mut destinations: Vec<_> =
            config.exporters.iter().filter_map(|output| output.destination()).collect();
        destinations
            .extend(config.source.record.as_ref().map(|file| ("record", file.value.display().to_string())));
        let mut exporters = Vec::new();
        for exporter in std::mem::take(&mut config.exporters) {
            let mut running = exporter.start(&context)?;
            own_files.add(running.file.take());
            context.served.extend(running.address.map(|address| (running.name, address)));
            exporters.push(running);
        }
        destinations.extend(context.served.iter().map(|(name, address)| (*name, address.to_string())));
        let summary = is_summarized.then(|| Summary::start(&context)).transpose()?;
        let (summary, summarizing) = summary.unzip();
        if config.disabled && !exporters.is_empty() {
            tracing::info!("--disabled: exporters stay disabled, too, and export nothing");
        }
        announcement.make(&listeners, &context.served)?;
        for listener in &listeners {
            tracing::info!("listening at {listener}");
        }
        let localhost_port = listeners.iter().find_map(Listener::localhost_port);
        let (limits, snakepit) = (config.client_limits, config.snakepit);
        let server = Server { listeners, access, limits, snakepit, upstream: upstream.clone() };
        let server = server.start(&context, driver.handle());
        let outputs = Outputs {
            hub: Arc::clone(&hub),
            exporters,
            summary: summarizing,
            server,
            drain,
            linger: config.serving.linger.0,
            shutdown: context.shutdown,
            drain_end: context.drain_end,
        };
        let metadata = metadata(config.source.metadata.clone());
        let observer = Observer::new(Arc::clone(&hub), metadata.clone());
        let telemetry = upstream.map(|upstream| {
            telemetry::Running::start(move || Connection::new(upstream), Arc::clone(&hub), metadata)
        });
        let telemetry = telemetry.transpose().map_err(StartError::Thread)?;
        let drain_end = outputs.drain_end.clone();
        let status = Status::new(Arc::clone(&hub), context.mode.worker().cloned(), context.recording);
        Ok(Self {
            hub,
            observer,
            localhost_port,
            recorder,
            lines: context.lines,
            status,
            outputs,
            summary,
            destinations,
            started: Instant::now(),
            telemetry,
            driver,
            drain_end,
            log: log.clone(),
        })
    }

    /// The sources of a report.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Whether an output exports ordinary lines.
    pub fn exports_lines(&self) -> bool {
        self.lines.is_some()
    }

    /// Ends the drain early. What is not delivered by then is lost.
    pub fn drain_end(&self) -> DrainEnd {
        self.drain_end.clone()
    }

    /// The parts of a pipeline for this session.
    pub fn parts<P: Publisher>(&self, config: &mut Serve, publisher: P) -> Parts<P, Stderr> {
        let metadata = metadata(std::mem::take(&mut config.source.metadata));
        Parts {
            splitter: Splitter::new(
                &dialect::SNAKEPIT,
                config.framing.embedded,
                config.framing.max_line_bytes,
            ),
            decoder: Decoder::new(&dialect::SNAKEPIT, metadata),
            publisher,
            // If stderr was closed, Rust's runtime has opened /dev/null in its place.
            passthrough: if was_closed(2) {
                Passthrough::closed(io::stderr())
            } else {
                Passthrough::new(io::stderr())
            },
            recorder: self.recorder.clone(),
            last_bytes: None,
            lines: self.lines.clone().map(LineWriter::new),
            log: self.log.clone(),
        }
    }

    /// Ends the stream, with what the sidecar observed of the worker's end as its last events, and waits
    /// until it is delivered, or the time for that is over. Meanwhile log lines are printed.
    pub fn finish(self, observe_end: impl FnOnce(&Observer), mut print_log: impl FnMut()) -> Finished {
        let (hub, observer, mut outputs, telemetry) = (self.hub, self.observer, self.outputs, self.telemetry);
        let ending = async {
            let began = Instant::now();
            if let Some(telemetry) = telemetry {
                telemetry.finish(outputs.drain.of_source(), self.drain_end.ended()).await;
            }
            observe_end(&observer);
            hub.close();
            if self.status.worker.as_ref().is_some_and(|worker| worker.pid().is_none()) {
                // There was no worker that a subscriber could ask about.
                outputs.linger = Duration::ZERO;
            }
            outputs.drain = outputs.drain.after(began.elapsed());
            outputs.drain().await
        };
        let drained = self.driver.block_on(async {
            let mut drained = pin!(ending);
            loop {
                match timeout(log::PRINT_INTERVAL, &mut drained).await {
                    Ok(drained) => break drained,
                    Err(_) => print_log(),
                }
            }
        });
        if let Some(recorder) = &self.recorder {
            recorder.finish(drained.deadline.map(Into::into));
        }
        let report = self.status.report();
        let recording = self.recorder.as_ref().and_then(|recorder| recorder.loss());
        let time = match &self.status.worker {
            Some(worker) => worker.run_time(),
            None => self.started.elapsed(),
        };
        let undelivered = losses::all(&report, recording, drained);
        Finished {
            losses: undelivered.iter().map(|(name, loss)| format!("{name}: {loss}")).collect(),
            undelivered,
            digest: self.summary.map(|summary| summary.digest()),
            destinations: self.destinations,
            report,
            time,
            driver: self.driver,
        }
    }
}

/// What is added to the metadata of events.
fn metadata(given: Vec<Several<(String, String)>>) -> Vec<(String, String)> {
    Several::flatten(given).map(|given| given.value).collect()
}
