//! The recorded source: feeds files of raw stderr, compressed or not, to the pipeline that a live worker
//! uses.

use super::{Pipeline, Publisher, recorded_bytes::RecordedBytes};
use std::{
    error::Error,
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

const READ_BYTES: usize = 64 * 1024;

/// An open recording.
pub struct Recording {
    /// Its name, for messages.
    pub name: String,
    source: RecordedBytes,
    /// Device and inode, if it is a regular file.
    identity: Option<(u64, u64)>,
}

/// Why recordings cannot be read.
#[derive(Debug)]
pub enum RecordingError {
    /// Standard input is named more than once.
    StandardInputTwice,
    /// The name is that of a directory.
    Directory(String),
    /// The file of this name cannot be opened or read.
    Io(String, io::Error),
}

impl fmt::Display for RecordingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardInputTwice => {
                formatter.write_str("FILE: '-': standard input can be read only once")
            }
            Self::Directory(name) => {
                write!(formatter, "{name}: it is a directory, expected a file of recorded stderr")
            }
            Self::Io(name, error) => write!(formatter, "{name}: {error}"),
        }
    }
}

impl Error for RecordingError {}

/// Opens recordings; "-" is standard input.
///
/// # Errors
///
/// The first that cannot be opened.
pub fn open(files: &[PathBuf]) -> Result<Vec<Recording>, RecordingError> {
    if files.iter().filter(|path| is_standard_input(path)).count() > 1 {
        return Err(RecordingError::StandardInputTwice);
    }
    files.iter().map(|path| open_one(path)).collect()
}

fn open_one(path: &Path) -> Result<Recording, RecordingError> {
    let name = path.display().to_string();
    let (source, found) = if is_standard_input(path) {
        let stdin = io::stdin();
        let found = metadata(stdin.as_fd());
        (RecordedBytes::new(stdin), found)
    } else {
        let file = File::open(path).map_err(|error| RecordingError::Io(name.clone(), error))?;
        let found = file.metadata();
        if found.as_ref().is_ok_and(Metadata::is_dir) {
            return Err(RecordingError::Directory(name));
        }
        (RecordedBytes::new(file), found)
    };
    Ok(Recording { name, source, identity: found.ok().and_then(|found| identity(&found)) })
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn metadata(fd: BorrowedFd<'_>) -> io::Result<Metadata> {
    File::from(fd.try_clone_to_owned()?).metadata()
}

/// Device and inode of a regular file. Pipes and devices have no identity: they may be read and written at
/// the same time.
fn identity(found: &Metadata) -> Option<(u64, u64)> {
    found.is_file().then(|| (found.dev(), found.ino()))
}

impl Recording {
    /// Whether it is the file at this path.
    pub fn is_at(&self, path: &Path) -> bool {
        let found = fs::metadata(path).ok().and_then(|found| identity(&found));
        found.is_some() && found == self.identity
    }

    /// Feeds the recording to the pipeline as a stream of its own, with `by_line` at most a line at a time.
    /// Stops early when `until` returns true.
    ///
    /// # Errors
    ///
    /// If a read fails. Everything before it has been fed.
    pub fn feed<P: Publisher, F: AsFd>(
        self,
        pipeline: &mut Pipeline<P, F>,
        by_line: bool,
        until: impl Fn(&P) -> bool,
    ) -> Result<(), RecordingError> {
        self.feed_with(
            pipeline,
            |pipeline, read| {
                if by_line {
                    read.split_inclusive(|byte| *byte == b'\n').for_each(|line| feed_some(pipeline, line));
                } else if !read.is_empty() {
                    feed_some(pipeline, read);
                }
            },
            until,
        )
    }

    /// Feeds the recording like [`feed`](Self::feed), each part after it was edited. The last part is empty.
    ///
    /// # Errors
    ///
    /// If a read fails. Everything before it has been fed.
    pub fn feed_edited<P: Publisher, F: AsFd>(
        self,
        pipeline: &mut Pipeline<P, F>,
        edit: &mut dyn FnMut(&[u8], &mut Vec<u8>),
        until: impl Fn(&P) -> bool,
    ) -> Result<(), RecordingError> {
        let mut edited = Vec::new();
        let feed = |pipeline: &mut Pipeline<P, F>, read: &[u8]| {
            edited.clear();
            edit(read, &mut edited);
            edited.chunks(READ_BYTES).for_each(|some| feed_some(pipeline, some));
        };
        self.feed_with(pipeline, feed, until)
    }

    fn feed_with<P: Publisher, F: AsFd>(
        mut self,
        pipeline: &mut Pipeline<P, F>,
        mut feed: impl FnMut(&mut Pipeline<P, F>, &[u8]),
        until: impl Fn(&P) -> bool,
    ) -> Result<(), RecordingError> {
        let mut chunk = vec![0; READ_BYTES];
        let result = loop {
            let read = match self.source.read(&mut chunk) {
                Ok(0) => break Ok(()),
                Ok(count) => chunk.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    pipeline.print_log();
                    continue;
                }
                Err(error) => break Err(RecordingError::Io(self.name, error)),
            };
            feed(pipeline, read);
            if until(pipeline.publisher()) {
                break Ok(());
            }
        };
        feed(pipeline, &[]);
        pipeline.finish();
        result
    }
}

/// Feeds this many bytes at most: those of one read.
fn feed_some<P: Publisher, F: AsFd>(pipeline: &mut Pipeline<P, F>, bytes: &[u8]) {
    if let Some(room) = pipeline.spare(READ_BYTES).get_mut(..bytes.len()) {
        room.copy_from_slice(bytes);
    }
    pipeline.advance(bytes.len());
    pipeline.print_log();
}
