//! Does what the command line says, and exits with the right status.

use telemetry_sidecar::{
    app,
    system::log,
    worker::{Exit, exit::FAILED},
};

fn main() {
    app::run(std::env::args_os())
        .unwrap_or_else(|what| {
            log::error_line(what);
            Exit::Code(FAILED)
        })
        .leave()
}
