//! Files that an option or a variable names: one bounded read for all of them, and errors that say which file
//! it is.

use crate::system::open::read_at_most;
use std::{borrow::Cow, fmt::Display, path::PathBuf};

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
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = read_at_most(&self.path, MAX_FILE_BYTES + 1).map_err(|error| self.error(error))?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(self.error("longer than 4 MiB"));
        }
        Ok(bytes)
    }

    /// An error message in one line: the option, the path and the cause.
    pub(crate) fn error(&self, cause: impl Display) -> String {
        format!("{}: '{}': {cause}", self.option, self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_file_is_an_error() {
        let endless = SourceFile::public("--number", "/dev/zero".into());
        assert_eq!(endless.read().unwrap_err(), "--number: '/dev/zero': longer than 4 MiB");
    }
}
