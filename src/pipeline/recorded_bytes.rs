//! The bytes of a recording: gzip is decompressed, and a non-blocking standard input is waited for.

use crate::system::fd;
use flate2::read::MultiGzDecoder;
use nix::{
    errno::Errno,
    poll::{PollFlags, PollTimeout},
    unistd::read,
};
use std::{
    io::{self, Cursor, Read},
    os::fd::AsFd,
};

/// How a gzip file starts.
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// Reads a recording, compressed or not.
pub(super) struct RecordedBytes {
    bytes: Box<dyn Read>,
    is_started: bool,
    is_gzip: bool,
}

impl RecordedBytes {
    /// The bytes of this descriptor. Nothing is read yet: a pipe may have no bytes for a long time.
    pub(super) fn new(from: impl AsFd + 'static) -> Self {
        Self { bytes: Box::new(Descriptor(from)), is_started: false, is_gzip: false }
    }

    /// Reads the first bytes, which say whether the recording is compressed.
    fn start(&mut self) -> io::Result<()> {
        let mut start = Vec::new();
        while start.len() < GZIP.len() && GZIP.starts_with(&start) {
            let mut byte = [0];
            if self.bytes.read(&mut byte)? == 0 {
                break;
            }
            start.extend(byte);
        }
        self.is_started = true;
        self.is_gzip = start == GZIP;
        let rest = std::mem::replace(&mut self.bytes, Box::new(io::empty()));
        let all = Cursor::new(start).chain(rest);
        self.bytes = if self.is_gzip { Box::new(MultiGzDecoder::new(all)) } else { Box::new(all) };
        Ok(())
    }
}

impl Read for RecordedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_started {
            self.start()?;
        }
        let result = self.bytes.read(buffer);
        result.map_err(|error| if self.is_gzip { gzip_error(error) } else { error })
    }
}

/// An error with the cause if the compressed data are invalid.
fn gzip_error(error: io::Error) -> io::Error {
    let kind = error.kind();
    match kind {
        _ if error.raw_os_error().is_some() => error,
        io::ErrorKind::UnexpectedEof => io::Error::new(kind, "the gzip data are cut off"),
        _ => io::Error::new(kind, format!("invalid gzip data: {error}")),
    }
}

/// Reads from a descriptor that may be non-blocking.
struct Descriptor<F>(F);

impl<F: AsFd> Read for Descriptor<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match read(&self.0, buffer) {
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    fd::wait(&self.0, PollFlags::POLLIN, PollTimeout::NONE);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::{
        fs::File,
        io::{Seek as _, Write as _},
        thread,
    };

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        file
    }

    fn read_all(content: &[u8]) -> (Vec<u8>, io::Result<usize>) {
        let mut read = Vec::new();
        let result = RecordedBytes::new(file(content)).read_to_end(&mut read);
        (read, result)
    }

    #[test]
    fn other_bytes_stay_as_they_are() {
        for content in [&b""[..], b"\x1f", b"\x1fx", b"\x8b\x1f", b"TELEMETRY:{}\n"] {
            let (read, result) = read_all(content);
            assert_eq!((read.as_slice(), result.unwrap()), (content, content.len()));
        }
    }

    #[test]
    fn all_members_of_a_gzip_file_are_read() {
        let (read, result) = read_all(&[gzip(b"first\n"), gzip(b""), gzip(b"second\n")].concat());
        assert_eq!(read, b"first\nsecond\n");
        result.unwrap();
    }

    #[test]
    fn damaged_gzip_is_an_error_after_what_comes_before() {
        let text: Vec<_> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = gzip(&text);
        let (read, result) = read_all(&whole[..whole.len() - 20]);
        assert_eq!(result.unwrap_err().to_string(), "the gzip data are cut off");
        assert!(text.starts_with(&read) && read.len() > text.len() / 2, "{} bytes", read.len());

        let (read, result) = read_all(&[&whole[..], b"text that is no member"].concat());
        let error = result.unwrap_err().to_string();
        assert!(read == text && error.starts_with("invalid gzip data: "), "{error}");
    }

    #[test]
    fn a_non_blocking_pipe_is_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let reading = thread::spawn(move || {
            let mut read = String::new();
            RecordedBytes::new(reader).read_to_string(&mut read).map(|_| read)
        });
        for text in ["T", "ELEMETRY:{}\n", "text\n"] {
            writer.write_all(text.as_bytes()).unwrap();
            thread::yield_now();
        }
        drop(writer);
        assert_eq!(reading.join().unwrap().unwrap(), "TELEMETRY:{}\ntext\n");
    }
}
