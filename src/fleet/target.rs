//! What a command line names: a sidecar's address, or a process.

use super::discover::{Found, Sidecar};
use crate::net::address::{Address, AddressError};
use std::{fmt, path::Path, str::FromStr};
use thiserror::Error;

/// A sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The process id of a sidecar of this host, or of its worker.
    Process(u32),
    /// Where it listens.
    Address(Address),
}

/// Why a word is no sidecar.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error("it is a file: decode and top read files")]
    File,
    #[error("{}", .0.to_string().replacen("expected ", "expected a process id, ", 1))]
    Address(#[from] AddressError),
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(word: &str) -> Result<Self, TargetError> {
        match (word.parse(), word.parse()) {
            (Ok(pid), _) => Ok(Self::Process(pid)),
            (_, Ok(address)) => Ok(Self::Address(address)),
            (_, Err(_)) if Path::new(word).is_file() => Err(TargetError::File),
            (_, Err(error)) => Err(error.into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(pid) => pid.fmt(formatter),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

/// The sidecar with this process id, or whose worker has it.
///
/// # Errors
///
/// A message, if no sidecar that was found has it.
pub fn of_process(pid: u32, found: &Found) -> Result<&Sidecar, String> {
    let sidecar = found.sidecars.iter().find(|sidecar| sidecar.pid == pid || sidecar.worker == Some(pid));
    sidecar.ok_or_else(|| {
        let port = u16::try_from(pid).map(|port| format!(" (for a port: {})", Address::localhost(port)));
        format!("{pid}: no sidecar, and no worker of one, has this process id{}", port.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_process() {
        assert_eq!("4711".parse(), Ok(Target::Process(4711)));
        assert_eq!("[::1]:80".parse::<Target>().unwrap().to_string(), "[::1]:80");
        assert_eq!("unix:7".parse(), Ok(Target::Address(Address::Unix("7".into()))));
        assert!("-1".parse::<Target>().is_err() && "x".parse::<Target>().is_err());
    }
}
