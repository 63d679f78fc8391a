//! Opens the worker's stderr: a pseudo-terminal where the sidecar has a terminal, else a pipe.

use crate::{
    config::Wrap,
    pipeline::live::Channel,
    system::option::Given,
    worker::{
        pipe::{self, PipeSize},
        pty::{Pty, StderrKind, Window},
        startup::was_closed,
    },
};
use nix::{errno::Errno, sys::stat::Mode};
use std::{
    fmt::Display,
    io::{self, IsTerminal as _},
    os::fd::OwnedFd,
};

/// Both ends of the worker's stderr.
pub(super) struct WorkerStderr {
    /// What the sidecar reads. It is non-blocking.
    pub(super) reader: OwnedFd,
    /// What the worker writes to. It is blocking.
    pub(super) writer: OwnedFd,
    /// How it is read.
    pub(super) channel: Channel,
    /// Passes the terminal's size on when it changes.
    pub(super) window: Option<Window>,
}

impl WorkerStderr {
    pub(super) fn open(config: &Wrap) -> Result<Self, String> {
        match config.serve.source.stderr {
            StderrKind::Pty => {
                let error = |error: io::Error| format!("--stderr pty: no pseudo-terminal: {error}");
                let pty = Pty::open(io::stderr()).map_err(|errno| error(errno.into()))?;
                Self::from_pty(pty).map_err(error)
            }
            StderrKind::Auto if io::stderr().is_terminal() && !was_closed(2) => match Pty::open(io::stderr())
            {
                Ok(pty) if pty.is_readable => {
                    tracing::info!(
                        "the worker's stderr is a pipe: a pager would wait for keys at a pseudo-terminal \
                             that root can open (--stderr pty makes one)"
                    );
                    Self::from_pipe(config)
                }
                Ok(pty) => Self::from_pty(pty).map_err(unprepared),
                Err(error) => {
                    tracing::info!("the worker's stderr is a pipe: no pseudo-terminal: {error}");
                    Self::from_pipe(config)
                }
            },
            StderrKind::Auto | StderrKind::Pipe => Self::from_pipe(config),
        }
    }

    fn from_pty(pty: Pty) -> io::Result<Self> {
        let (channel, window) = (Channel::Terminal(Window::new(&pty)?), Some(Window::new(&pty)?));
        let Pty { master, slave, .. } = pty;
        Ok(Self { reader: master, writer: slave, channel, window })
    }

    fn from_pipe(config: &Wrap) -> Result<Self, String> {
        let given = config.serve.source.pipe_size.as_ref();
        let size = match given {
            Some(given) => PipeSize::Fixed(given.value),
            None => PipeSize::Default,
        };
        let (reader, writer) = pipe::open(size).map_err(|error| {
            let Some(Given { origin, .. }) = given else { return unprepared(error) };
            match error {
                Errno::EPERM => origin.error("more than this user may have (/proc/sys/fs/pipe-max-size)"),
                error => origin.error(error),
            }
        })?;
        pipe::copy_permissions(io::stderr(), &writer, Mode::all());
        let channel = Channel::Pipe { grows: size == PipeSize::Default };
        Ok(Self { reader, writer, channel, window: None })
    }
}

/// The error if the system refuses something that is needed before the worker's start.
pub(super) fn unprepared(error: impl Display) -> String {
    let cause = error.to_string();
    let hint = if cause.contains("Too many open files") { " (ulimit -n)" } else { "" };
    format!("cannot prepare to start the worker: {cause}{hint}")
}
