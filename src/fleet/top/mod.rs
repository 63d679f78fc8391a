//! `top`: workers, their operations, measurements and last events, live, or once as text.
//!
//! ```text
//! sidecars (follow, stream) ─┐
//! recordings (recorded) ─────┴→ updates → model ─┬→ draw ← view ← keys (live)
//!                                                └→ tables (once)
//! ```
//!
//! Events stay encoded: the digests scan them, and only drawn events are decoded.

pub mod args;
mod draw;
mod follow;
mod json_lines;
mod layout;
mod live;
mod model;
mod observed;
mod once;
mod order;
mod pace;
mod pane;
mod recent;
mod recorded;
mod stream;
mod tables;
mod tty;
mod view;
mod window;
mod worker;

use super::{
    client::{ClientAccess, Connector},
    discover::{self, Found, none_found},
    error::FleetError,
    target::{Target, of_process},
};
use crate::{
    pipeline::recording::{self, RecordingError},
    system::{log::error_line, thread, visible::one_line},
    terminal::{screen::Screen, standard_output},
    worker::{Exit, exit::FAILED},
};
use follow::Follower;
use std::{
    env,
    io::{self, IsTerminal as _},
    path::PathBuf,
    time::Duration,
};
use thiserror::Error;
use tokio::sync::mpsc;
use worker::Worker;

/// How many updates may wait. What reads sidecars and recordings waits then.
const MAX_UPDATES: usize = 256;

/// The interval between requests of counters in the live view.
const SECOND: Duration = Duration::from_secs(1);

/// What to show.
#[derive(Debug)]
pub struct Top {
    /// Nothing means all sidecars of this host.
    pub from: Vec<Source>,
    /// How to connect.
    pub access: ClientAccess,
    /// Print once.
    pub once: bool,
    /// How long to look before that.
    pub interval: Duration,
}

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A sidecar.
    Sidecar(Target),
    /// A recording; "-" is standard input.
    Recording(PathBuf),
}

/// Why it cannot be shown, or not any more.
#[derive(Debug, Error)]
pub enum TopError {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("standard output: {0}")]
    Terminal(io::Error),
    #[error("cannot read keys: {0}")]
    Keys(io::Error),
    #[error("TERM={0}: this terminal cannot show a live view, use --once")]
    PlainTerminal(String),
    #[error("TERM is not set: a live view needs to know the terminal, set TERM or use --once")]
    UnknownTerminal,
    #[error("-: standard input is the terminal that keys come from, give a file or a pipe")]
    InputIsTerminal,
    #[error("{0}")]
    NoSidecar(String),
}

/// Shows it until a key or a signal ends it, or prints it once.
///
/// # Errors
///
/// If it cannot be shown.
pub fn run(top: &Top) -> Result<Exit, TopError> {
    standard_output::require_open().map_err(TopError::Terminal)?;
    let once = top.once || !io::stdout().is_terminal();
    let recordings = || {
        top.from.iter().filter_map(|source| match source {
            Source::Recording(path) => Some(path.clone()),
            Source::Sidecar(_) => None,
        })
    };
    // Once, because what was written to a FIFO is lost when it is closed.
    let mut opened = recording::open(&recordings().collect::<Vec<_>>())?.into_iter();
    let connector = Connector::new(&top.access).map_err(FleetError::from)?;
    let has_process = |source: &Source| matches!(source, Source::Sidecar(Target::Process(_)));
    let found = if top.from.iter().any(has_process) {
        discover::sidecars().map_err(FleetError::Find)?
    } else {
        Found::default()
    };
    let mut inputs = None;
    if !once {
        let name = env::var("TERM").unwrap_or_default();
        if name.is_empty() {
            return Err(TopError::UnknownTerminal);
        }
        if name == "dumb" {
            return Err(TopError::PlainTerminal(one_line(&name)));
        }
        if recordings().any(|path| path.as_os_str() == "-") && io::stdin().is_terminal() {
            return Err(TopError::InputIsTerminal);
        }
        // First, because threads inherit which signals are blocked.
        inputs = Some(tty::inputs().map_err(FleetError::Start)?);
    }
    let screen = Screen::of(io::stdout());
    let sample = once::sample(top.interval);
    let runtime = thread::runtime().enable_all().build().map_err(FleetError::Start)?;
    let exit = runtime.block_on(async {
        let (updates, received) = mpsc::channel(MAX_UPDATES);
        let follower = Follower::new(connector, updates.clone(), if once { sample } else { SECOND });
        let only_recordings = !top.from.is_empty() && recordings().count() == top.from.len();
        for source in top.from.clone() {
            match source {
                Source::Sidecar(Target::Address(address)) => {
                    drop(tokio::spawn(follower.clone().follow_address(address)));
                }
                Source::Sidecar(Target::Process(pid)) => {
                    let sidecar = of_process(pid, &found).map_err(TopError::NoSidecar)?.clone();
                    drop(tokio::spawn(follower.clone().follow_found(sidecar)));
                }
                Source::Recording(_) => {
                    let Some(recording) = opened.next() else { continue };
                    let (id, updates) = (follower.next_id(), updates.clone());
                    let read = move || recorded::read(id, recording, &updates);
                    drop(thread::spawn("recording", read).map_err(FleetError::Start)?);
                }
            }
        }
        if top.from.is_empty() {
            drop(tokio::spawn(follower.follow_all()));
        } else {
            drop(follower);
        }
        drop(updates);
        if let Some(inputs) = inputs {
            return live::run(received, inputs, screen).await;
        }
        print(received, (!only_recordings).then_some(top.interval), top.from.is_empty(), &screen).await
    });
    // Threads that still read must not be waited for.
    runtime.shutdown_background();
    exit
}

async fn print(
    updates: mpsc::Receiver<model::Update>,
    interval: Option<Duration>,
    finds: bool,
    screen: &Screen,
) -> Result<Exit, TopError> {
    let model = once::look(updates, interval, finds).await;
    if model.workers.is_empty() {
        error_line(none_found("", model.left_out.as_deref()));
        return Ok(Exit::Code(0));
    }
    let unreached: Vec<_> = model.workers.iter().filter_map(Worker::unreached).collect();
    let is_nobody_reached = unreached.len() == model.workers.len();
    let mut failed = !finds && !unreached.is_empty() || is_nobody_reached;
    if failed {
        unreached.iter().for_each(error_line);
    }
    if is_nobody_reached {
        return Ok(Exit::Code(FAILED));
    }
    let lines = once::lines(&model, screen);
    let written = standard_output::write(screen.text(&lines).as_bytes());
    standard_output::printed(&written).map_err(FleetError::Output)?;
    for failure in model.workers.iter().filter_map(recorded::failure) {
        error_line(failure);
        failed = true;
    }
    Ok(Exit::Code(if failed { FAILED } else { 0 }))
}
