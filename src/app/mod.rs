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
mod running;
mod session;
mod settling;
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
use wrap::{Files, Wrapping};

/// Runs a command line, program name first.
///
/// # Errors
///
/// The error in one line. Nothing is left running then.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<Exit, String> {
    memory::share_heap();
    match begin(arguments.into_iter().collect())? {
        Begun::Ended(exit) => Ok(exit),
        Begun::Wrapping(wrapping) => wrap::run(*wrapping),
    }
}

/// What a command line has led to.
enum Begun {
    Ended(Exit),
    /// A worker is still to be wrapped.
    Wrapping(Box<Wrapping>),
}

/// Does what a command line says, apart from wrapping a worker.
///
/// It is not inlined: a sidecar keeps the memory of all frames that are on the stack while its worker runs.
#[inline(never)]
fn begin(arguments: Vec<OsString>) -> Result<Begun, String> {
    let witness = cli::wraps(&arguments).then(|| Witness::start().ok()).flatten();
    match cli::parse(arguments) {
        Ok(Parsed::Text(text)) => {
            // Coloured if stdout is a terminal.
            let print = || text.print().and_then(|()| io::stdout().flush());
            standard_output::printed(&standard_output::require_open().and_then(|()| print()))?;
            Ok(Begun::Ended(Exit::Code(0)))
        }
        Ok(Parsed::Run(cli, environment_names)) => begin_task(*cli, environment_names, witness),
        Err(refused) => {
            // A ready file that an earlier sidecar has left must not be taken for this one's.
            refused.ready_file.as_ref().map(ReadyFile::prepare).transpose()?;
            Err(refused.error.to_string())
        }
    }
}

/// A worker must not inherit these environment variables.
fn begin_task(cli: Cli, environment_names: Vec<String>, witness: Option<Witness>) -> Result<Begun, String> {
    let pool_path = pool::path();
    if let (Some((program, arguments)), None) = (cli.command_of_pool(), &pool_path) {
        drop(witness);
        return Ok(Begun::Ended(execute_in_place(program, arguments, &environment_names)));
    }
    // First, because it may be an inherited descriptor: later the sidecar has others of its own.
    let ready_file = cli.ready_file().map(ReadyFile::prepare).transpose()?;
    let summary_file = cli.summary_file().as_ref().map(summary::prepare).transpose()?;
    let pool_path = pool_path.filter(|_| cli.command_of_pool().is_some());
    let pool_file = pool_path.as_ref().map(PoolReadyFile::prepare).transpose()?;
    let exit = match config::resolve(cli).map_err(|error| error.to_string())? {
        Task::Wrap(config) => {
            let files = Files { ready: ready_file, pool: pool_file, summary: summary_file };
            let wrapping = Wrapping { config, files, environment_names, witness, tap: None };
            return Ok(Begun::Wrapping(Box::new(wrapping)));
        }
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
    };
    exit.map(Begun::Ended)
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
