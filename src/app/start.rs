//! Starting what outputs are served by: listeners, the recording, the announcement.

use super::{own_files::OwnFiles, ready_file::ReadyFile};
use crate::{
    cli::args::ServingArgs,
    config::Serve,
    net::listener::Listener,
    pipeline::{output::StartError, record::Recorder},
    system::{open::open_append, option::Given},
};
use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

/// Binds all addresses.
pub(super) fn bind(config: &Serve, own_files: &OwnFiles) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for Given { value: address, origin } in &config.listen {
        let bound = Listener::bind(address, config.socket_mode);
        let mut listener = bound.map_err(|cause| StartError::Option(origin.error(cause)))?;
        // If the next one fails, this one's file is to be removed.
        own_files.add(listener.take_file());
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Opens the recording and starts its thread.
pub(super) fn start_recording(file: &Given<PathBuf>) -> Result<Arc<Recorder>, StartError> {
    let Given { value: path, origin } = file;
    let file = open_append(path).map_err(|error| StartError::Option(origin.error(error)))?;
    Recorder::start(file).map(Arc::new).map_err(StartError::Thread)
}

/// How the addresses are announced. The default does not announce them.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    ready_file: Option<ReadyFile>,
    is_printed: bool,
}

impl Announcement {
    /// In the ready file, if there is one, or else on stderr, unless that is to be quiet.
    pub(super) fn new(serving: &ServingArgs, ready_file: Option<ReadyFile>) -> Self {
        Self { ready_file, is_printed: serving.announces() }
    }

    /// Announces the listeners, and in the ready file the other addresses with their names.
    ///
    /// # Errors
    ///
    /// If the ready file cannot be written.
    pub(super) fn make(
        self,
        listeners: &[Listener],
        served: &[(&str, SocketAddr)],
    ) -> Result<(), StartError> {
        if let Some(file) = self.ready_file {
            file.write(listeners, served).map_err(StartError::Option)?;
        }
        // Only ports that the system has chosen.
        for port in listeners.iter().filter_map(Listener::announced_port).filter(|_| self.is_printed) {
            // If stderr is closed there is no reader to announce the port to.
            let _ = writeln!(io::stderr(), "GRPC_READY:{port}");
        }
        Ok(())
    }
}
