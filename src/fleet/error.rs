//! Errors of commands that print something about sidecars.

use super::client::ClientError;
use crate::net::source_file::SourceError;
use std::io;
use thiserror::Error;

/// Why such a command fails.
#[derive(Debug, Error)]
pub enum FleetError {
    #[error("cannot start: {0}")]
    Start(io::Error),
    #[error("/proc: {0}")]
    Find(io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Output(String),
}

impl From<SourceError> for FleetError {
    fn from(error: SourceError) -> Self {
        Self::Client(error.into())
    }
}
