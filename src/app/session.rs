//! What wrapping and replaying share: listeners, hub, exporters, recording and the serving thread.

use super::exporters;
use crate::{
    config::Serve,
    decode::Decoder,
    grpc::{
        access::Access,
        listener::{Address, Listener},
        server::Server,
        status::{StatusService, WorkerState},
        unix_socket::SocketFile,
    },
    hub::{Hub, Snapshot},
    log::Log,
    passthrough::Passthrough,
    pipeline::{Parts, Publisher},
    record::{Recorder, open_append},
    splitter::Splitter,
    stats::{ConsumerStats, Malformed, RecordingStats, StreamStats},
    worker::startup::was_closed,
};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Stderr, Write as _},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// Everything but the source.
pub struct Session {
    pub hub: Arc<Hub>,
    recorder: Option<Arc<Recorder>>,
    server: JoinHandle<()>,
    drain_timeout: Duration,
    log: Log,
}

/// What has to live until the very end: files that go when it is dropped.
pub type SocketFiles = Vec<SocketFile>;

impl Session {
    /// Binds, opens and starts everything that can fail, so that nothing can once the worker runs.
    pub fn start(
        config: &mut Serve,
        worker: Option<Arc<WorkerState>>,
        log: &Log,
    ) -> Result<(Self, SocketFiles), String> {
        if let Some(path) = &config.ready_file {
            remove_stale_ready_file(path)?;
        }
        let access = Access::load(std::mem::take(&mut config.access), log)?;
        let bind = |address: &Address| {
            address.bind(config.socket_mode).map_err(|cause| format!("--listen: '{address}': {cause}"))
        };
        let listeners: Vec<Listener> = config.listen.iter().map(bind).collect::<Result<_, _>>()?;
        let socket_files = listeners.iter().filter_map(Listener::socket_file).collect();

        let recorder = config.record.as_deref().map(start_recording).transpose()?;
        let hub = Hub::new(config.controls.clone(), config.limits);
        let context = exporters::Context {
            hub: &hub,
            worker: worker.as_ref(),
            recorder: recorder.as_ref(),
            drain_timeout: config.drain_timeout,
            linger: config.linger,
            log,
        };
        let exporters = exporters::start(&config.export, &context)?;
        let server = Server {
            hub: Arc::clone(&hub),
            status: StatusService {
                hub: Arc::clone(&hub),
                worker,
                recorder: recorder.clone(),
                prometheus: exporters.prometheus,
            },
            access,
            limits: config.client_limits,
            drain_timeout: config.drain_timeout,
            linger: config.linger,
            log: log.clone(),
        };
        if let Some(path) = &config.ready_file {
            write_ready_file(path, &listeners)?;
        }
        if config.announce {
            announce(&listeners);
        }
        for listener in &listeners {
            log.info(format_args!("listening at {listener}"));
        }
        let server = start_serving(server, listeners)?;
        let session = Self { hub, recorder, server, drain_timeout: config.drain_timeout, log: log.clone() };
        Ok((session, socket_files))
    }

    /// What a pipeline of this session is made of.
    pub fn parts<P: Publisher>(&self, config: &mut Serve, publisher: P) -> Parts<P, Stderr> {
        Parts {
            splitter: Splitter::new(config.framing.embedded, config.framing.max_line_bytes),
            decoder: Decoder::new(std::mem::take(&mut config.metadata)),
            publisher,
            // Where stderr was closed Rust has put /dev/null.
            passthrough: if was_closed(2) {
                Passthrough::closed(io::stderr())
            } else {
                Passthrough::new(io::stderr())
            },
            recorder: self.recorder.clone(),
            log: self.log.clone(),
        }
    }

    /// Ends the stream, waits for it to be served, and returns the final account as a line to print, if it is
    /// wanted.
    pub fn finish(self) -> String {
        self.hub.close();
        // It ends in time, whatever happens, or has panicked and ended already.
        let _ = self.server.join();
        if let Some(recorder) = &self.recorder {
            recorder.finish(self.drain_timeout);
        }
        summary(&self.hub.snapshot(), self.recorder.map(|recorder| recorder.stats()))
    }
}

fn start_recording(path: &Path) -> Result<Arc<Recorder>, String> {
    let file = open_output("--record", path)?;
    Ok(Arc::new(Recorder::start(file).map_err(|error| no_thread(&error))?))
}

pub(super) fn open_output(option: &str, path: &Path) -> Result<File, String> {
    open_append(path).map_err(|error| format!("{option}: '{}': {error}", path.display()))
}

fn start_serving(server: Server, listeners: Vec<Listener>) -> Result<JoinHandle<()>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| format!("cannot start serving: {error}"))?;
    let serve = move || runtime.block_on(server.serve(listeners));
    thread::Builder::new().name("grpc".into()).spawn(serve).map_err(|error| no_thread(&error))
}

pub(super) fn no_thread(error: &io::Error) -> String {
    format!("cannot start a thread: {error}")
}

fn remove_stale_ready_file(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("--ready-file: '{}': {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes the file beside its place and renames it, so that nobody reads half of it. Others may be able to write to
/// that directory, as to /tmp: what has the temporary name is never written through.
fn write_ready_file(path: &Path, listeners: &[Listener]) -> Result<(), String> {
    let mut lines = String::new();
    for listener in listeners {
        let _ = writeln!(lines, "{}", listener.ready_line());
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", process::id()));
    let temporary = PathBuf::from(temporary);
    // A sidecar that was killed may have left one; as PID 1 they all have the same name.
    let _ = fs::remove_file(&temporary);
    let written = File::create_new(&temporary)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        format!("--ready-file: '{}': {error}", path.display())
    })
}

/// Tells the ports that nobody could know.
fn announce(listeners: &[Listener]) {
    for port in listeners.iter().filter_map(Listener::announced_port) {
        // If stderr is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "GRPC_READY:{port}");
    }
}

/// The final account in one line.
fn summary(snapshot: &Snapshot, recording: Option<RecordingStats>) -> String {
    let Snapshot { stream, backlog, subscribers, departed, departed_count, exporters } = snapshot;
    let mut line = format!("{}: ", crate::log::PROGRAM);
    let StreamStats { bytes_read, bytes_passed, bytes_removed, bytes_dropped, bytes_held, .. } = stream;
    let _ = write!(
        line,
        "bytes read {bytes_read} = passed {bytes_passed} + removed {bytes_removed} + dropped {bytes_dropped} + \
         held {bytes_held}; telemetry lines {} = decoded {} + malformed {} + oversized {}",
        stream.telemetry_lines,
        stream.decoded,
        stream.malformed.total(),
        stream.oversized
    );
    let reasons = Malformed::ALL.into_iter().map(|reason| (reason.name(), stream.malformed.get(reason)));
    for (name, count) in reasons.filter(|(_, count)| *count > 0) {
        let _ = write!(line, " ({name} {count})");
    }
    let _ = write!(line, "; events {} = decoded + embedded {}", stream.events(), stream.embedded);
    let mut all = *departed;
    for subscriber in subscribers {
        all.add(&subscriber.stats);
    }
    let count = departed_count + subscribers.len() as u64;
    let _ = write!(line, "; subscribers {count}: {}", outcomes(&all));
    for exporter in exporters {
        let _ = write!(line, "; {}: {}", exporter.name, outcomes(&exporter.stats));
        for (counter, count) in &exporter.counters {
            let _ = write!(line, " ({counter} {count})");
        }
    }
    let _ = write!(
        line,
        "; backlog {} = handed over {} + dropped {} + waiting {}",
        backlog.taken_in, backlog.handed_over, backlog.dropped, backlog.waiting
    );
    if let Some(recording) = recording {
        let stopped = if recording.stopped { ", stopped" } else { "" };
        let _ =
            write!(line, "; recorded {}, lost {}{stopped}", recording.bytes_written, recording.bytes_lost);
    }
    line.push('\n');
    line
}

fn outcomes(stats: &ConsumerStats) -> String {
    format!(
        "offered {} = delivered {} + switched off {} + filtered {} + sampled out {} + dropped {} + abandoned {} + \
         queued {}",
        stats.offered,
        stats.delivered,
        stats.switched_off,
        stats.filtered,
        stats.sampled_out,
        stats.dropped,
        stats.abandoned,
        stats.queued
    )
}
