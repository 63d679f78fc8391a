//! What wrapping and replaying share: listeners, hub, exporters, recording and the serving thread.

use super::{account::account, exporters, ready_file, socket_files::SocketFiles};
use crate::{
    config::Serve,
    grpc::{auth::Access, server::Server, service::status::StatusService},
    hub::Hub,
    input::{decode::Decoder, dialect, splitter::Splitter},
    net::listener::Listener,
    pipeline::{Parts, Publisher, passthrough::Passthrough, record::Recorder},
    system::{
        log,
        open::open_append,
        option::{Given, Several},
    },
    worker::{startup::was_closed, state::WorkerState},
};
use std::{
    fs::File,
    io::{self, Stderr, Write as _},
    path::PathBuf,
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
    log: log::Lines,
}

impl Session {
    /// Binds, opens and starts everything that can fail, so that nothing can once the worker runs. Without a worker it is
    /// a replay.
    pub fn start(
        config: &mut Serve,
        worker: Option<Arc<WorkerState>>,
        socket_files: &SocketFiles,
        log: &log::Lines,
    ) -> Result<Self, String> {
        let access = Access::load(std::mem::take(&mut config.access))?;
        let mut listeners = Vec::new();
        for Given { value: address, origin } in &config.listen {
            let listener = Listener::bind(address, config.socket_mode);
            let mut listener = listener.map_err(|cause| origin.error(cause))?;
            // The next one may fail.
            socket_files.add(listener.take_file());
            listeners.push(listener);
        }

        let recorder = config.source.record.as_ref().map(start_recording).transpose()?;
        let hub = Hub::new(config.controls.clone(), config.limits);
        let context = exporters::Context {
            hub: &hub,
            worker: worker.as_ref(),
            recorder: recorder.as_ref(),
            drain_timeout: config.serving.drain_timeout.0,
            linger: config.serving.linger.0,
        };
        let exporters = exporters::start(&config.export, &context)?;
        if config.disabled && config.export.any() {
            tracing::info!("--disabled: exporters stay disabled, too, and export nothing");
        }
        // Nothing that was recorded is to be lost, however slow a subscriber is.
        let drain_timeout = worker.is_some().then_some(config.serving.drain_timeout.0);
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
            drain_timeout,
            linger: config.serving.linger.0,
        };
        if let Some(file) = &config.serving.ready_file {
            ready_file::write(file, &listeners)?;
        }
        if config.serving.announces() {
            announce(&listeners);
        }
        for listener in &listeners {
            tracing::info!("listening at {listener}");
        }
        let server = start_serving(server, listeners)?;
        Ok(Self { hub, recorder, server, drain_timeout: config.serving.drain_timeout.0, log: log.clone() })
    }

    /// What a pipeline of this session is made of.
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
        // It ends in time, whatever happens, or has panicked and ended already. A replay has all the time there is.
        let _ = self.server.join();
        if let Some(recorder) = &self.recorder {
            recorder.finish(self.drain_timeout);
        }
        account(&self.hub.snapshot(), self.recorder.map(|recorder| recorder.stats()))
    }
}

fn start_recording(file: &Given<PathBuf>) -> Result<Arc<Recorder>, String> {
    let file = open_output(file)?;
    Ok(Arc::new(Recorder::start(file).map_err(|error| no_thread(&error))?))
}

pub(super) fn open_output(file: &Given<PathBuf>) -> Result<File, String> {
    open_append(&file.value).map_err(|error| file.origin.error(error))
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

/// Tells the ports that nobody could know.
fn announce(listeners: &[Listener]) {
    for port in listeners.iter().filter_map(Listener::announced_port) {
        // If stderr is closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "GRPC_READY:{port}");
    }
}
