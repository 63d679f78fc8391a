//! Parses the command line, does what it asks for, and leaves with the right status.

use std::io::Write as _;
use telemetry_sidecar::{
    app,
    cli::{self, Cli, Parsed},
    config,
    system::log,
    worker::{Exit, exit::FAILED},
};

fn main() {
    run()
        .unwrap_or_else(|what| {
            log::error_line(what);
            Exit::Code(FAILED)
        })
        .leave()
}

fn run() -> Result<Exit, String> {
    match cli::parse(std::env::args_os())? {
        Parsed::Text(text) => {
            let _ = write!(std::io::stdout(), "{text}");
            Ok(Exit::Code(0))
        }
        Parsed::Run(cli, environment) => {
            run_task(*cli, &environment.names).map_err(|what| environment.blame(&what))
        }
    }
}

fn run_task(cli: Cli, environment_names: &[String]) -> Result<Exit, String> {
    cli.ready_file().map_or(Ok(()), app::ready_file::remove_stale)?;
    app::run(config::resolve(cli)?, environment_names)
}
