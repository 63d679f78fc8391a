//! The composition root: builds everything from the configuration and owns the order of start and shutdown.

mod decode;
mod ending;
mod expect;
mod gather;
mod install;
mod losses;
mod observing;
mod outputs;
mod own_files;
mod pool;
mod reading;
mod ready_file;
mod replay;
mod session;
mod start;
mod summary;
mod worker_stderr;
mod wrap;

use crate::{
    cli::{self, Cli, Parsed, reference},
    config::{self, Task},
    fleet::{ps, status, tail, top},
    system::{log, memory},
    terminal::standard_output,
    worker::{Exit, environment, in_place, witness::Witness},
};
use pool::PoolReadyFile;
use ready_file::ReadyFile;
use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
};

/// Runs a command line, program name first.
///
/// # Errors
///
/// The error in one line. Nothing is left running then.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<Exit, String> {
    memory::share_heap();
    let arguments: Vec<_> = arguments.into_iter().collect();
    let witness = cli::wraps(&arguments).then(|| Witness::start().ok()).flatten();
    match cli::parse(arguments) {
        Ok(Parsed::Text(text)) => {
            // Coloured if stdout is a terminal.
            let print = || text.print().and_then(|()| io::stdout().flush());
            standard_output::printed(&standard_output::require_open().and_then(|()| print()))?;
            Ok(Exit::Code(0))
        }
        Ok(Parsed::Run(cli, environment_names)) => run_task(*cli, &environment_names, witness),
        Err(refused) => {
            // A ready file that an earlier sidecar has left must not be taken for this one's.
            refused.ready_file.as_ref().map(ReadyFile::prepare).transpose()?;
            Err(refused.error.to_string())
        }
    }
}

/// A worker must not inherit these environment variables.
fn run_task(cli: Cli, environment_names: &[String], witness: Option<Witness>) -> Result<Exit, String> {
    let pool_path = pool::path();
    if let (Some((program, arguments)), None) = (cli.command_of_pool(), &pool_path) {
        drop(witness);
        return Ok(execute_in_place(program, arguments, environment_names));
    }
    // First, because it may be an inherited descriptor: later the sidecar has others of its own.
    let ready_file = cli.ready_file().map(ReadyFile::prepare).transpose()?;
    let summary_file = cli.summary_file().as_ref().map(summary::prepare).transpose()?;
    let pool_path = pool_path.filter(|_| cli.command_of_pool().is_some());
    let pool_file = pool_path.as_ref().map(PoolReadyFile::prepare).transpose()?;
    match config::resolve(cli).map_err(|error| error.to_string())? {
        Task::Wrap(task) => wrap::run(
            *task,
            Files { ready: ready_file, pool: pool_file, summary: summary_file },
            environment_names,
            witness,
            None,
        ),
        Task::Expect(task) => expect::run(*task, environment_names, witness),
        Task::Replay(task) => replay::run(*task, ready_file, summary_file),
        Task::Decode(framing, files) => decode::run(framing, &files),
        Task::Tail(settings) => tail::run(*settings).map_err(|error| error.to_string()),
        Task::Ps(json, access) => ps::run(json, &access).map_err(|error| error.to_string()),
        Task::Status(targets, json, access) => {
            status::run(targets, json, &access).map_err(|error| error.to_string())
        }
        Task::Top(settings) => top::run(&settings).map_err(|error| error.to_string()),
        Task::Gather(settings, access) => gather::run(*settings, &access, ready_file),
        Task::Completions(shell) => {
            standard_output::printed(&standard_output::write(&reference::completions(shell)))?;
            Ok(Exit::Code(0))
        }
        Task::Install(directory) => install::run(&directory),
    }
}

/// The files that a wrapped run writes itself.
struct Files {
    ready: Option<ReadyFile>,
    pool: Option<PoolReadyFile>,
    summary: Option<ReadyFile>,
}

/// Continues as a command that no pool waits for, such as an interpreter that is asked for its version.
/// Returns only if that fails.
fn execute_in_place(program: &OsStr, arguments: &[OsString], environment_names: &[String]) -> Exit {
    // SAFETY: this is the process's first thread, and there is no other.
    unsafe { environment::remove(environment_names) };
    let error = in_place::execute(program, arguments);
    log::error_line(error.describe(program));
    Exit::Code(error.exit_code())
}
