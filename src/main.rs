//! Parses the command line, does what it asks for, and leaves with the right status.

use std::io::Write as _;
use telemetry_sidecar::{
    app,
    cli::{self, Parsed},
    config, log,
    worker::{Exit, exit::FAILED},
};

fn main() {
    run()
        .unwrap_or_else(|what| {
            log::tell(what);
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
        Parsed::Run(cli, environment) => config::resolve(*cli)
            .and_then(|task| app::run(task, &environment.names))
            .map_err(|what| environment.blame(&what)),
    }
}
