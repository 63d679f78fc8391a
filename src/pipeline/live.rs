//! The live source: a thread that reads the worker's stderr.
//!
//! It uses plain blocking reads and writes, and sleeps in `poll` on the pipe and on the [`Wake`] that
//! announces log lines and the worker's end. After the worker's end it processes the bytes that are in the
//! pipe at that moment and no more: a grandchild that goes on writing does not delay the exit.
//!
//! It may be a pseudo-terminal instead of a pipe.
//!
//! The pipe starts at the system's size and is enlarged while reads come full, because each user has a budget
//! of pipe memory and most workers need none of it.
//!
//! Waking the reader for every line would cost the worker as much time as the sidecar, because the worker
//! does the waking. While reads follow one another closely the reader sleeps for a short delay instead of
//! waiting for the next byte, and then reads what has arrived.

use super::{Pipeline, Publisher, wake::Wake};
use crate::worker::{pipe, pty::Window};
use nix::{
    errno::Errno,
    sys::{prctl::set_timerslack, time::TimeSpec},
    unistd::read,
};
use std::{
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// The largest read, in bytes: all of a pipe of the default size. A read and the events made of it fit a
/// core's cache.
const READ_BYTES: usize = pipe::DEFAULT_BYTES;
/// The largest read from a pseudo-terminal.
const TERMINAL_READ_BYTES: usize = 4096;

/// Reads that follow one another within this time are coalesced.
const COALESCE_WINDOW: Duration = Duration::from_micros(400);
/// How long coalesced bytes collect: too short to be seen, and long enough for several lines of a busy Python
/// worker.
const COALESCE_DELAY: TimeSpec = TimeSpec::new(0, 150_000);

/// What the worker's stderr is.
#[derive(Debug)]
pub(crate) enum Channel {
    /// A pipe, which grows while reads come full or keeps its size.
    Pipe { grows: bool },
    /// A pseudo-terminal. The size of the sidecar's terminal may change while the sidecar is not in its
    /// foreground group, and then no signal reports that. So it is compared whenever the worker has written.
    Terminal(Window),
}

impl Channel {
    /// After a read of this many bytes it is read again at once: writers rarely fill it to the last byte.
    fn large_read_bytes(&self) -> usize {
        match self {
            Self::Pipe { .. } => READ_BYTES / 2,
            Self::Terminal(_) => TERMINAL_READ_BYTES / 2,
        }
    }

    /// At least as many bytes as are in it.
    fn bytes_in(&self, fd: &OwnedFd) -> usize {
        match self {
            Self::Pipe { .. } => bytes_in(fd),
            // The system does not say how many these are, and holds about 16 KiB.
            Self::Terminal(_) => READ_BYTES,
        }
    }
}

/// The worker's stderr, read until the worker has ended and what it wrote is read.
struct Source<'a> {
    fd: &'a OwnedFd,
    channel: &'a mut Channel,
    wake: &'a Wake,
    /// After the worker's end: how many of the bytes that were then there are still to be read, at most.
    left: Option<usize>,
}

/// The result of a read.
enum Next {
    Bytes(usize),
    Nothing,
    End,
}

impl<'a> Source<'a> {
    fn new(fd: &'a OwnedFd, channel: &'a mut Channel, wake: &'a Wake) -> Self {
        Self { fd, channel, wake, left: None }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Next {
        if self.left.is_none() && self.wake.has_ended() {
            self.left = Some(self.channel.bytes_in(self.fd));
        }
        let size = self.left.unwrap_or(usize::MAX).min(buffer.len());
        match buffer.get_mut(..size).map(|buffer| read(self.fd, buffer)) {
            Some(Ok(count)) if count > 0 => {
                self.left = self.left.map(|left| left - count);
                if let Channel::Terminal(window) = self.channel {
                    window.update();
                }
                Next::Bytes(count)
            }
            Some(Err(Errno::EAGAIN | Errno::EINTR)) if self.left.is_none() => Next::Nothing,
            _ => Next::End,
        }
    }

    fn wait_for_bytes(&self) {
        self.wait(Some(self.fd), None);
    }

    fn wait_for_more_bytes(&self) {
        self.wait(None, Some(COALESCE_DELAY));
    }

    /// After the worker's end the bytes are there already, and nothing reports that there are no more.
    fn wait(&self, fd: Option<&OwnedFd>, limit: Option<TimeSpec>) {
        if self.left.is_none() {
            self.wake.wait(fd, limit);
        }
    }

    /// A worker may close its stderr and live on.
    fn wait_for_worker_exit(&self, mut on_wake: impl FnMut()) {
        while !self.wake.has_ended() {
            on_wake();
            self.wake.wait(None, None);
        }
    }
}

/// Feeds a worker's stderr to the pipeline until the worker has ended and all that it wrote is processed.
///
/// After a panic everything that was read and what the worker still writes reaches stderr unseen: an error of
/// the sidecar's must not cost the worker its output.
pub(crate) fn feed<P: Publisher, F: AsFd>(
    stderr: &OwnedFd,
    channel: &mut Channel,
    wake: &Wake,
    pipeline: &mut Pipeline<P, F>,
) {
    let process = AssertUnwindSafe(|| process(Source::new(stderr, channel, wake), pipeline));
    if catch_unwind(process).is_err() {
        // Publishing the counters may panic again; the bytes are written before.
        let _ = catch_unwind(AssertUnwindSafe(|| pipeline.pass_unfinished()));
        copy_raw(Source::new(stderr, channel, wake), pipeline);
    }
}

fn process<P: Publisher, F: AsFd>(mut source: Source<'_>, pipeline: &mut Pipeline<P, F>) {
    // The coalesce delay is short and must not be rounded up.
    let _ = set_timerslack(1);
    let large_read_bytes = source.channel.large_read_bytes();
    let mut growth = Growth::new(matches!(source.channel, Channel::Pipe { grows: true }));
    let mut coalescer = ReadCoalescer::default();
    loop {
        match source.read(pipeline.spare(READ_BYTES)) {
            Next::Bytes(count) => {
                pipeline.advance(count);
                pipeline.print_log();
                coalescer.note_read(Instant::now());
                if count >= large_read_bytes {
                    growth.after_large_read(source.fd);
                    continue;
                }
            }
            Next::Nothing => pipeline.print_log(),
            Next::End => break,
        }
        if coalescer.take_delay() {
            source.wait_for_more_bytes();
        } else {
            source.wait_for_bytes();
        }
    }
    pipeline.finish();
    source.wait_for_worker_exit(|| pipeline.print_log());
}

/// Copies a worker's stderr as it is until the worker has ended.
fn copy_raw<P: Publisher, F: AsFd>(mut source: Source<'_>, pipeline: &mut Pipeline<P, F>) {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        match source.read(&mut chunk) {
            Next::Bytes(count) => pipeline.pass_raw(chunk.get(..count).unwrap_or_default()),
            Next::Nothing => source.wait_for_bytes(),
            Next::End => break,
        }
    }
    source.wait_for_worker_exit(|| {});
}

/// How many bytes are in a pipe.
fn bytes_in(pipe: &OwnedFd) -> usize {
    let mut count: nix::libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer, which is valid for that.
    let result = unsafe { fionread(pipe.as_raw_fd(), &raw mut count) };
    result.ok().and_then(|_| usize::try_from(count).ok()).unwrap_or(0)
}

nix::ioctl_read_bad!(
    /// Writes the number of bytes in a pipe through the pointer.
    fionread,
    nix::libc::FIONREAD,
    nix::libc::c_int
);

/// How far the pipe may still be enlarged.
struct Growth {
    pipe_bytes: usize,
    allowed: bool,
}

impl Growth {
    fn new(allowed: bool) -> Self {
        Self { pipe_bytes: READ_BYTES, allowed }
    }

    /// Doubles the pipe, until the system refuses.
    fn after_large_read(&mut self, fd: &OwnedFd) {
        if !self.allowed || self.pipe_bytes >= pipe::MAX_BYTES {
            return;
        }
        let larger = self.pipe_bytes * 2;
        match pipe::resize(fd, larger) {
            Ok(()) => self.pipe_bytes = larger,
            Err(_) => self.allowed = false,
        }
    }
}

/// Decides which waits are replaced by the coalesce delay.
#[derive(Default)]
struct ReadCoalescer {
    last_read: Option<Instant>,
    /// Whether the last two reads followed one another closely, so that the next one probably will, too.
    delays_next: bool,
}

impl ReadCoalescer {
    fn note_read(&mut self, now: Instant) {
        let last = self.last_read.replace(now);
        self.delays_next = last.is_some_and(|last| now - last < COALESCE_WINDOW);
    }

    /// True once for each read that followed closely: after a delay without bytes the reader waits for the
    /// next ones.
    fn take_delay(&mut self) -> bool {
        std::mem::take(&mut self.delays_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_within_the_coalesce_window_causes_one_delay() {
        let mut coalescer = ReadCoalescer::default();
        let mut now = Instant::now();
        let mut delays_after = |pause| {
            now += pause;
            coalescer.note_read(now);
            (coalescer.take_delay(), coalescer.take_delay())
        };
        assert_eq!(delays_after(Duration::ZERO), (false, false), "the first");
        assert_eq!(delays_after(COALESCE_WINDOW / 2), (true, false));
        assert_eq!(delays_after(Duration::ZERO), (true, false));
        assert_eq!(delays_after(COALESCE_WINDOW), (false, false));
        assert_eq!(delays_after(COALESCE_WINDOW / 2), (true, false));
    }
}
