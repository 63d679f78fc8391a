//! Files that are read at the start, and again when they have changed: certificates, keys, tokens.
//!
//! Nothing watches them: each use checks their metadata, which takes microseconds and costs an idle sidecar
//! nothing. A change that cannot be used is logged once and the previous contents stay in force: a
//! half-written file must not lock all clients out.

use super::source_file::{SourceCause, SourceError, SourceFile};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    sync::{Arc, Mutex, PoisonError},
};

/// The permissions that a secret file should not have.
const OTHERS: u32 = 0o077;

/// The metadata that changes when a regular file does. The time is the inode's change time: unlike the
/// modification time neither `cp -p` nor `mv` sets it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    identity: (u64, u64),
    bytes: u64,
    changed: (i64, i64),
    mode: u32,
}

impl Stamp {
    fn of(file: &SourceFile) -> Option<Self> {
        let metadata = fs::metadata(&file.path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            identity: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        })
    }
}

/// A value that is read from files.
pub trait Source {
    /// The value.
    type Value;

    /// The files that the value depends on.
    fn files(&self) -> Vec<&SourceFile>;

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// The option, the path and the cause, in one line that shows nothing of what the files contain.
    fn load(&self) -> Result<Self::Value, SourceError>;
}

/// The value of some files, read again when they have changed.
pub struct Reloading<S: Source> {
    source: S,
    state: Mutex<State<S::Value>>,
}

struct State<V> {
    /// The files' metadata when they were last read.
    stamps: Vec<Option<Stamp>>,
    value: Arc<V>,
}

impl<S: Source> Reloading<S> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// The option, the path and the cause, in one line.
    pub fn load(source: S) -> Result<Self, SourceError> {
        // Taken before the files are read: a change in between is noticed the next time.
        let stamps = stamps(&source);
        let value = Arc::new(source.load()?);
        warn_about_permissions(&source, &stamps);
        Ok(Self { source, state: Mutex::new(State { stamps, value }) })
    }

    /// The value of the files as they are now, or as they were when they could last be used.
    pub fn current(&self) -> Arc<S::Value> {
        let stamps = stamps(&self.source);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamps != stamps {
            match self.reload(&stamps) {
                Ok(value) => state.value = Arc::new(value),
                Err(error) => {
                    tracing::info!("{error}; the previous contents stay in force");
                }
            }
            state.stamps = stamps;
        }
        Arc::clone(&state.value)
    }

    fn reload(&self, stamps: &[Option<Stamp>]) -> Result<S::Value, SourceError> {
        for (file, stamp) in self.source.files().iter().zip(stamps) {
            // Opening a named pipe could block forever.
            stamp.ok_or_else(|| file.error(SourceCause::NotRegular))?;
        }
        let value = self.source.load()?;
        for file in self.source.files() {
            tracing::info!("{file}: read again");
        }
        warn_about_permissions(&self.source, stamps);
        Ok(value)
    }
}

fn stamps(source: &impl Source) -> Vec<Option<Stamp>> {
    source.files().into_iter().map(Stamp::of).collect()
}

fn warn_about_permissions(source: &impl Source, stamps: &[Option<Stamp>]) {
    for (file, stamp) in source.files().into_iter().zip(stamps) {
        if let Some(Stamp { mode, .. }) = stamp
            && file.secret
            && mode & OTHERS != 0
        {
            let mode = mode & 0o777;
            tracing::info!("{file}: warning: other users have access (mode {mode:03o}, not 600)");
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

        fn load(&self) -> Result<u32, SourceError> {
            let text = String::from_utf8(self.0.read()?).unwrap();
            text.trim().parse().map_err(|_| self.0.error(SourceCause::InvalidPem))
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_an_invalid_one_is_logged_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        capture::take();
        let source = || Number(SourceFile::secret("--number", path.clone()));
        assert!(Reloading::load(source()).err().unwrap().to_string().starts_with("--number: '"));

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
            assert!(lines[0].contains("stay in force"), "{lines:?}");
        }

        fs::write(&path, "333").unwrap();
        assert_eq!(*number.current(), 333);
    }
}
