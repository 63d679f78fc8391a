//! The bytes of a recording: gzip is decompressed, and bytes that are not there yet are waited for.

use crate::system::fd;
use flate2::read::MultiGzDecoder;
use nix::{errno::Errno, poll::PollFlags, unistd::read};
use std::{
    io::{self, Read},
    os::fd::AsFd,
};

/// How a gzip file starts.
const GZIP: [u8; 2] = [0x1F, 0x8B];

/// How long a read waits for bytes, in milliseconds, before the caller may attend to something else.
const IDLE_INTERVAL_MS: u16 = 100;

/// Reads a recording, compressed or not. A read fails with `WouldBlock` if no bytes come for a while, and may
/// be repeated.
pub(super) struct RecordedBytes {
    bytes: Box<dyn Read + Send>,
    /// The first bytes, until they say whether the recording is compressed.
    start: Option<Vec<u8>>,
    is_gzip: bool,
}

impl RecordedBytes {
    /// The bytes of this descriptor. Nothing is read yet: a pipe may have no bytes for a long time.
    pub(super) fn new(from: impl AsFd + Send + 'static) -> Self {
        Self { bytes: Box::new(Descriptor(from)), start: Some(Vec::new()), is_gzip: false }
    }

    /// Reads the first bytes.
    fn start(&mut self) -> io::Result<()> {
        let Some(start) = &mut self.start else { return Ok(()) };
        while start.len() < GZIP.len() && GZIP.starts_with(start) {
            let mut byte = [0];
            if self.bytes.read(&mut byte)? == 0 {
                break;
            }
            start.extend(byte);
        }
        self.is_gzip = *start == GZIP;
        let rest = std::mem::replace(&mut self.bytes, Box::new(io::empty()));
        let all = Prefixed { first: self.start.take().unwrap_or_default(), rest };
        self.bytes = if self.is_gzip { Box::new(MultiGzDecoder::new(all)) } else { Box::new(all) };
        Ok(())
    }
}

impl Read for RecordedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.start()?;
        let result = self.bytes.read(buffer);
        result.map_err(|error| if self.is_gzip { gzip_error(error) } else { error })
    }
}

/// An error with the cause if the compressed data are invalid.
fn gzip_error(error: io::Error) -> io::Error {
    let kind = error.kind();
    match kind {
        io::ErrorKind::WouldBlock => error,
        _ if error.raw_os_error().is_some() => error,
        io::ErrorKind::UnexpectedEof => io::Error::new(kind, "the gzip data are cut off"),
        _ => io::Error::new(kind, format!("invalid gzip data: {error}")),
    }
}

/// The first bytes, and with them those that follow: the first byte of a line is not to be passed on alone,
/// because messages would stand behind it.
struct Prefixed {
    first: Vec<u8>,
    rest: Box<dyn Read + Send>,
}

impl Read for Prefixed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.first.len().min(buffer.len());
        if count == 0 {
            return self.rest.read(buffer);
        }
        let (start, room) = buffer.split_at_mut(count);
        start.copy_from_slice(&self.first[..count]);
        self.first.drain(..count);
        // The next read reports an error again.
        Ok(count + self.rest.read(room).unwrap_or(0))
    }
}

/// Reads from a descriptor, which may be non-blocking, and waits for bytes for a while.
struct Descriptor<F>(F);

impl<F: AsFd> Read for Descriptor<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !fd::wait(&self.0, PollFlags::POLLIN, IDLE_INTERVAL_MS.into()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match read(&self.0, buffer) {
            // As after a timeout, the caller tries again.
            Err(Errno::EINTR) => Err(io::ErrorKind::WouldBlock.into()),
            result => result.map_err(io::Error::from),
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
        let mut bytes = RecordedBytes::new(reader);
        let mut expect = |expected: Result<&[u8], io::ErrorKind>| {
            let mut chunk = [0; 100];
            let read = bytes.read(&mut chunk).map(|count| &chunk[..count]);
            assert_eq!(read.map_err(|error| error.kind()), expected);
        };
        expect(Err(io::ErrorKind::WouldBlock));
        writer.write_all(b"TELEMETRY:{}\n").unwrap();
        expect(Ok(b"TELEMETRY:{}\n"));
        expect(Err(io::ErrorKind::WouldBlock));
        drop(writer);
        expect(Ok(b""));
    }

    #[test]
    fn a_gzip_stream_may_pause_anywhere() {
        let text: Vec<_> = (0..1_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = gzip(&text);
        let (reader, mut writer) = io::pipe().unwrap();
        let mut bytes = RecordedBytes::new(reader);
        let (mut read, mut chunk) = (Vec::new(), [0; 100]);
        // Within the magic number, the header and the data.
        let pauses = [0, 1, 5, 12, whole.len() / 2, whole.len()];
        for part in pauses.windows(2) {
            writer.write_all(&whole[part[0]..part[1]]).unwrap();
            let pause = loop {
                match bytes.read(&mut chunk) {
                    Ok(0) => panic!("it ends early"),
                    Ok(count) => read.extend_from_slice(&chunk[..count]),
                    Err(error) => break error,
                }
            };
            assert_eq!(pause.kind(), io::ErrorKind::WouldBlock);
        }
        drop(writer);
        assert_eq!(bytes.read(&mut chunk).unwrap(), 0);
        assert!(read == text);
    }
}
