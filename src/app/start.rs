//! Starting what outputs are served by: listeners, the recording, the announcement.

use super::own_files::OwnFiles;
use crate::{
    config::Serve,
    net::listener::Listener,
    pipeline::{output::StartError, record::Recorder},
    system::{open::open_append, option::Given},
};
use std::{
    io::{self, Write as _},
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

/// Prints the ports that the system has chosen.
pub(super) fn announce(listeners: &[Listener]) {
    for port in listeners.iter().filter_map(Listener::announced_port) {
        // If stderr is closed there is no reader to announce the port to.
        let _ = writeln!(io::stderr(), "GRPC_READY:{port}");
    }
}
