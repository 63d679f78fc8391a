//! Files that are read at the start, and again when they have changed: certificates, keys, tokens.
//!
//! Nothing watches them. Whoever needs what is in them has them looked at, which takes microseconds and costs an
//! idle sidecar nothing. A change that cannot be used is told of once, and what was read before stays in force: a
//! half-written file must not shut everybody out.

use crate::system::fd::read_at_most;
use std::{
    fmt::Display,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The longest file that is read, in bytes: a device that never ends is none of these.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The permissions of a secret that are too many.
const FOR_OTHERS: u32 = 0o077;

/// A file that somebody has named in an option.
#[derive(Debug)]
pub struct SourceFile {
    option: &'static str,
    path: PathBuf,
    secret: bool,
}

impl SourceFile {
    /// A file that anybody may read, and the option that names it.
    pub fn public(option: &'static str, path: PathBuf) -> Self {
        Self { option, path, secret: false }
    }

    /// A file that nobody else should read, and the option that names it.
    pub fn secret(option: &'static str, path: PathBuf) -> Self {
        Self { option, path, secret: true }
    }

    /// What is in it.
    ///
    /// # Errors
    ///
    /// The option, the path and why it cannot be read, in one line.
    pub fn read(&self) -> Result<Vec<u8>, String> {
        let bytes = read_at_most(&self.path, MAX_FILE_BYTES + 1).map_err(|error| self.fault(error))?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(self.fault("longer than 1 MiB"));
        }
        Ok(bytes)
    }

    /// The option, the path and a cause, in one line.
    pub fn fault(&self, cause: impl Display) -> String {
        format!("{}: '{}': {cause}", self.option, self.path.display())
    }

    fn stamp(&self) -> Option<Stamp> {
        let found = fs::metadata(&self.path).ok().filter(fs::Metadata::is_file)?;
        Some(Stamp {
            identity: (found.dev(), found.ino()),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
            mode: found.mode(),
        })
    }
}

/// What tells one state of a regular file from another. Its time of change is the inode's: unlike that of
/// modification nothing sets it back, neither `cp -p` nor `mv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
    mode: u32,
}

/// What can be made of files.
pub trait Source {
    /// What is made of them.
    type Value;

    /// The files.
    fn files(&self) -> Vec<&SourceFile>;

    /// Reads them.
    ///
    /// # Errors
    ///
    /// The option, the path and what is wrong, in one line, which shows nothing of what the files hold.
    fn load(&self) -> Result<Self::Value, String>;
}

/// What was made of files, made anew when they have changed.
pub struct Reloading<S: Source> {
    source: S,
    state: Mutex<State<S::Value>>,
}

struct State<V> {
    /// Of the files when they were last read.
    stamps: Vec<Option<Stamp>>,
    value: Arc<V>,
}

impl<S: Source> Reloading<S> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// The option, the path and what is wrong, in one line.
    pub fn load(source: S) -> Result<Self, String> {
        // Looked at before they are read: a change in between is seen the next time.
        let stamps = stamps(&source);
        let value = Arc::new(source.load()?);
        warn_of_readers(&source, &stamps);
        Ok(Self { source, state: Mutex::new(State { stamps, value }) })
    }

    /// What the files hold now, or did when they could last be used.
    pub fn current(&self) -> Arc<S::Value> {
        let stamps = stamps(&self.source);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamps != stamps {
            match self.reload(&stamps) {
                Ok(value) => state.value = Arc::new(value),
                Err(fault) => {
                    tracing::info!("{fault}; what was read before stays in force");
                }
            }
            state.stamps = stamps;
        }
        Arc::clone(&state.value)
    }

    fn reload(&self, stamps: &[Option<Stamp>]) -> Result<S::Value, String> {
        for (file, stamp) in self.source.files().iter().zip(stamps) {
            // To open a pipe might take for ever.
            stamp.ok_or_else(|| file.fault("gone, or no regular file any more"))?;
        }
        let value = self.source.load()?;
        for file in self.source.files() {
            tracing::info!("{}", file.fault("read again"));
        }
        warn_of_readers(&self.source, stamps);
        Ok(value)
    }
}

fn stamps(source: &impl Source) -> Vec<Option<Stamp>> {
    source.files().into_iter().map(SourceFile::stamp).collect()
}

fn warn_of_readers(source: &impl Source, stamps: &[Option<Stamp>]) {
    for (file, stamp) in source.files().into_iter().zip(stamps) {
        if let Some(Stamp { mode, .. }) = stamp
            && file.secret
            && mode & FOR_OTHERS != 0
        {
            let mode = mode & 0o777;
            let warning = format_args!("warning: not this user's alone (mode {mode:03o}, not 600)");
            tracing::info!("{}", file.fault(warning));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::log::capture;

    struct Number(SourceFile);

    impl Source for Number {
        type Value = u32;

        fn files(&self) -> Vec<&SourceFile> {
            vec![&self.0]
        }

        fn load(&self) -> Result<u32, String> {
            let text = String::from_utf8(self.0.read()?).unwrap();
            text.trim().parse().map_err(|error| self.0.fault(error))
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_told_of_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        capture::take();
        let source = || Number(SourceFile::secret("--number", path.clone()));
        assert!(Reloading::load(source()).err().unwrap().starts_with("--number: '"));

        fs::write(&path, "1").unwrap();
        let number = Reloading::load(source()).unwrap();
        assert!(capture::take()[0].contains("warning"));
        assert_eq!((*number.current(), capture::take().len()), (1, 0));

        fs::write(&path, "22").unwrap();
        assert_eq!(*number.current(), 22);
        assert!(capture::take()[0].contains("read again"));

        for broken in [Some("none"), None] {
            match broken {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            assert_eq!((*number.current(), *number.current()), (22, 22));
            let lines = capture::take();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains("stays in force"), "{lines:?}");
        }

        fs::write(&path, "333").unwrap();
        assert_eq!(*number.current(), 333);
    }

    #[test]
    fn what_never_ends_is_not_read_to_the_end() {
        let endless = SourceFile::public("--number", "/dev/zero".into());
        assert!(endless.read().unwrap_err().contains("longer than"));
    }
}
