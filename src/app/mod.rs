//! The composition root: what runs, with what, and in which order it ends.

mod account;
mod decode;
mod exporters;
pub mod ready_file;
mod replay;
mod session;
mod socket_files;
mod tail;
mod wrap;

use crate::{config::Task, worker::Exit};

/// Does what was asked for. A worker is not to inherit these environment variables.
///
/// # Errors
///
/// What went wrong, in one line, before anything was started or with nothing left running.
pub fn run(task: Task, environment_names: &[String]) -> Result<Exit, String> {
    match task {
        Task::Wrap(task) => wrap::run(*task, environment_names),
        Task::Replay(task) => replay::run(*task),
        Task::Decode(framing, files) => decode::run(framing, &files),
        Task::Tail(address, access) => tail::run(&address, &access),
    }
}
