//! Files that an option or a variable names: one bounded read for all of them, and errors that say which file
//! it is.

use crate::system::{file_error::describe, open::read_at_most};
use rustls::server::VerifierBuilderError;
use std::{borrow::Cow, fmt, io, path::PathBuf};
use thiserror::Error;

/// The longest file that is read, in bytes: the system's bundle of authorities has a quarter of a MiB. The
/// limit also ends the read of an endless device.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// A file and the option or variable that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    option: Cow<'static, str>,
    pub(super) path: PathBuf,
    pub(super) secret: bool,
}

impl SourceFile {
    /// A file that all users may read.
    pub fn public(option: impl Into<Cow<'static, str>>, path: PathBuf) -> Self {
        Self { option: option.into(), path, secret: false }
    }

    /// A file that only this user should be able to read.
    pub fn secret(option: impl Into<Cow<'static, str>>, path: PathBuf) -> Self {
        Self { option: option.into(), path, secret: true }
    }

    /// The option or variable that names the file.
    pub(crate) fn option(&self) -> &str {
        &self.option
    }

    /// The contents of the file.
    ///
    /// # Errors
    ///
    /// The option, the path and why it cannot be read, in one line.
    pub(crate) fn read(&self) -> Result<Vec<u8>, SourceError> {
        let bytes = read_at_most(&self.path, MAX_FILE_BYTES + 1).map_err(|error| self.error(error))?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(self.error(SourceCause::TooLong));
        }
        Ok(bytes)
    }

    pub(crate) fn error(&self, cause: impl Into<SourceCause>) -> SourceError {
        SourceError { file: self.clone(), cause: Box::new(cause.into()) }
    }
}

impl fmt::Display for SourceFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: '{}'", self.option, self.path.display())
    }
}

/// A file that cannot be used.
#[derive(Debug, Error)]
#[error("{file}: {}", describe(&file.path, cause))]
pub struct SourceError {
    file: SourceFile,
    cause: Box<SourceCause>,
}

/// Why a file cannot be used. No message shows anything of what the file contains.
#[derive(Debug, Error)]
pub(crate) enum SourceCause {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error("longer than 4 MiB")]
    TooLong,
    #[error("missing, or not a regular file any more")]
    NotRegular,
    #[error("no valid PEM")]
    InvalidPem,
    #[error("there is no {0} in it (PEM)")]
    Lacks(&'static str),
    #[error("the {0} is cut off")]
    CutOff(&'static str),
    #[error("no valid certificate")]
    InvalidCertificate,
    #[error("none of its certificates can be used")]
    NoUsableCertificate,
    #[error("no valid private key")]
    InvalidKey,
    #[error("encrypted, give one that is not")]
    EncryptedKey,
    #[error("private key does not match the certificate in {certificate}")]
    KeyMismatch { certificate: String },
    #[error("{missing} is not set, set both")]
    Incomplete { missing: String },
    #[error("line {line} is no token: it has characters that none can have")]
    InvalidToken { line: usize },
    #[error("there is no token in it: put one on a line of its own")]
    NoToken,
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    ClientVerifier(#[from] VerifierBuilderError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_file_is_an_error() {
        let endless = SourceFile::public("--number", "/dev/zero".into());
        assert_eq!(endless.read().unwrap_err().to_string(), "--number: '/dev/zero': longer than 4 MiB");
    }
}
