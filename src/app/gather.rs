//! `gather`: the order of its start, and its end.

use super::ready_file::ReadyFile;
use crate::{
    fleet::{
        client::{ClientAccess, Connector},
        gather::{self, Settings},
    },
    net::{listener::Listener, unix_socket::SocketMode},
    system::{fd::write_all, log, thread},
    worker::{Exit, signals::Ending},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{io, sync::mpsc::channel};

/// Gathers until SIGINT, SIGTERM or SIGHUP ends it, with status 0: it has done what it was started for.
pub fn run(settings: Settings, access: &ClientAccess, ready_file: Option<ReadyFile>) -> Result<Exit, String> {
    raise_open_files();
    // Threads that are started later inherit the blocked signals.
    let unprepared = |error: io::Error| format!("cannot start: {error}");
    let ending = Ending::block().map_err(|error| unprepared(error.into()))?;
    let connector = Connector::new(access).map_err(|error| error.to_string())?;
    let bound = Listener::bind(&settings.address.value, SocketMode::default());
    let listener = bound.map_err(|error| settings.address.origin.error(error))?;
    print_log(settings.log).map_err(unprepared)?;
    if let Some(file) = ready_file {
        file.write(std::slice::from_ref(&listener), &[])?;
    }
    let wait = move || {
        if ending.wait().is_some() {
            Exit::Code(0).leave();
        }
    };
    thread::spawn("signals", wait).map_err(unprepared)?;
    gather::run(listener, settings, connector).map(|()| Exit::Code(0)).map_err(unprepared)
}

/// Allows as many descriptors as the system does: each worker has a connection.
fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // The lower limit will do if it is refused.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Prints the log from a thread of its own: a stderr that is not read delays no page.
fn print_log(settings: log::Settings) -> io::Result<()> {
    let (notify, notified) = channel();
    let lines = log::start(settings, move || {
        // The thread lives as long as the process.
        let _ = notify.send(());
    });
    let print = move || {
        while notified.recv().is_ok() {
            let text = lines.take().concat();
            // If stderr is closed there is nowhere to report that.
            let _ = write_all(io::stderr(), text.as_bytes());
        }
    };
    thread::spawn("log", print).map(drop)
}
