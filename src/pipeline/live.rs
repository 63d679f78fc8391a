//! The live source: reads the worker's stderr.
//!
//! After the worker's end it processes the bytes that are in the pipe at that moment and no more: a
//! grandchild that goes on writing does not delay the exit. It may be a pseudo-terminal instead of a pipe.
//!
//! # One thread or two
//!
//! At the rates of most workers a wake-up costs more than the event that it is for. So the thread that reads
//! also drives the [runtime](super::driver) that serves gRPC: it sleeps once for both, and publishing an
//! event wakes no other thread. Neither the worker's output nor the subscribers may wait for the other
//! because of that. So another thread drives the runtime while
//!
//! - writing to stderr has to wait, which the worker then does, too,
//! - reads come large one after the other, which two processors handle faster than one, or
//! - serving takes long.
//!
//! If stderr can only be written in a way that may block, another thread drives the runtime from the start.
//!
//! # Pipe and reads
//!
//! The pipe starts at the system's size and is enlarged while reads come full, because each user has a budget
//! of pipe memory and most workers need none of it.
//!
//! Waking the reader for every line would cost the worker as much time as the sidecar, because the worker
//! does the waking. While reads follow one another closely the reader sleeps for a short delay instead of
//! waiting for the next byte, and then reads what has arrived.

mod coalescer;
mod growth;
mod wait;

use super::{Pipeline, Publisher, driver::Driver, wake::Wake};
use crate::worker::{pipe, pty::Window};
use coalescer::ReadCoalescer;
use growth::Growth;
use nix::{
    errno::Errno,
    sys::{
        prctl::set_timerslack,
        timerfd::{ClockId, TimerFd, TimerFlags},
    },
    unistd::read,
};
use std::{
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};
use wait::{Blocking, Sharing, Wait};

/// The largest read, in bytes: all of a pipe of the default size. A read and the events made of it fit a
/// core's cache.
const READ_BYTES: usize = pipe::DEFAULT_BYTES;
/// The largest read from a pseudo-terminal.
const TERMINAL_READ_BYTES: usize = 4096;

/// How long coalesced bytes collect: too short to be seen, and long enough for several lines of a busy Python
/// worker.
const COALESCE_DELAY: Duration = Duration::from_micros(150);

/// As many large reads in a row are the start of many.
const LARGE_READS: u32 = 4;

/// How long the runtime's tasks may wait for a thread that reads without a pause.
const TURN: Duration = Duration::from_millis(1);

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
    growth: Growth,
    coalescer: ReadCoalescer,
    /// After the worker's end: how many of the bytes that were then there are still to be read, at most.
    left: Option<usize>,
    /// Whether everything was read.
    is_read: bool,
}

/// The result of a read.
enum Next {
    Bytes(usize),
    Nothing,
    End,
}

/// Why reading stops on a thread.
enum Stop {
    /// Another thread is to drive the runtime from now on, or no longer.
    Change,
    /// Everything is read and the worker has ended.
    End,
}

impl<'a> Source<'a> {
    fn new(fd: &'a OwnedFd, channel: &'a mut Channel, wake: &'a Wake) -> Self {
        let growth = Growth::new(matches!(channel, Channel::Pipe { grows: true }));
        Self { fd, channel, wake, growth, coalescer: ReadCoalescer::default(), left: None, is_read: false }
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

    /// Whether a read of this many bytes has emptied the channel.
    fn is_emptied_by(&self, count: usize) -> bool {
        matches!(self.channel, Channel::Pipe { .. }) && count < READ_BYTES
    }

    /// Feeds the pipeline until the worker has ended and everything is read, or the thread is to wait in the
    /// other way.
    async fn feed<P: Publisher, F: AsFd>(
        &mut self,
        wait: &mut impl Wait,
        pipeline: &mut Pipeline<P, F>,
    ) -> Stop {
        while !self.is_read {
            if let Stop::Change = self.feed_bytes(wait, pipeline).await {
                return Stop::Change;
            }
            self.is_read = true;
            pipeline.finish();
            if pipeline.is_blocked() {
                return Stop::Change;
            }
        }
        // A worker may close its stderr and live on.
        while !self.wake.has_ended() {
            pipeline.print_log();
            let due = pipeline.flush_at(Instant::now());
            wait.wait(false, due).await;
        }
        Stop::End
    }

    async fn feed_bytes<P: Publisher, F: AsFd>(
        &mut self,
        wait: &mut impl Wait,
        pipeline: &mut Pipeline<P, F>,
    ) -> Stop {
        let large_read_bytes = self.channel.large_read_bytes();
        let (mut large_reads, mut last_turn) = (0, Instant::now());
        loop {
            let read = self.read(pipeline.spare(READ_BYTES));
            let now = Instant::now();
            let mut is_large = false;
            match read {
                Next::Bytes(count) => {
                    pipeline.advance_or_defer(count, now);
                    if pipeline.is_blocked() {
                        return Stop::Change;
                    }
                    self.coalescer.note_read(now);
                    if self.is_emptied_by(count) {
                        wait.emptied();
                    }
                    is_large = count >= large_read_bytes;
                }
                Next::Nothing => wait.emptied(),
                Next::End => return Stop::End,
            }
            pipeline.print_log();
            large_reads = if is_large { large_reads + 1 } else { 0 };
            let is_busy = large_reads >= LARGE_READS || pipeline.has_waited();
            if wait.is_over(is_busy, now) {
                return Stop::Change;
            }
            if is_large {
                self.growth.after_large_read(self.fd);
                continue;
            }
            let due = pipeline.flush_at(now);
            if pipeline.is_blocked() {
                return Stop::Change;
            }
            // After the worker's end the bytes are there already, and nothing reports that there are no more.
            if self.left.is_some() {
                continue;
            }
            if self.coalescer.take_delay() {
                // The runtime's tasks have a turn when events were published, and now and then.
                if due.is_none() || now - last_turn >= TURN {
                    wait.turn().await;
                    last_turn = now;
                }
                thread::sleep(COALESCE_DELAY);
            } else {
                wait.wait(true, due).await;
                last_turn = now;
            }
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
    driver: &mut Driver,
) {
    // The coalesce delay is short and must not be rounded up.
    let _ = set_timerslack(1);
    let process = AssertUnwindSafe(|| process(Source::new(stderr, channel, wake), pipeline, driver));
    if catch_unwind(process).is_err() {
        driver.set_apart(true);
        pipeline.wait_for_stderr(true);
        // Publishing the counters may panic again; the bytes are written before.
        let _ = catch_unwind(AssertUnwindSafe(|| pipeline.pass_unfinished()));
        copy_raw(Source::new(stderr, channel, wake), pipeline);
    }
}

/// Reads on this thread, which drives the runtime meanwhile as long as it can.
fn process<P: Publisher, F: AsFd>(
    mut source: Source<'_>,
    pipeline: &mut Pipeline<P, F>,
    driver: &mut Driver,
) {
    let can_share = driver.can_share() && pipeline.can_write_without_waiting();
    let (fd, wake, load) = (source.fd, source.wake, driver.load());
    let timer =
        TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK).ok();
    let mut stop = Stop::Change;
    while matches!(stop, Stop::Change) {
        let mut is_shared = false;
        if can_share {
            driver.set_apart(false);
            pipeline.wait_for_stderr(false);
            stop = driver.block_on(async {
                let sharing = timer.as_ref().map(|timer| Sharing::new(fd, wake, timer, &load));
                let Some(Ok(mut sharing)) = sharing else { return Stop::Change };
                is_shared = true;
                source.feed(&mut sharing, pipeline).await
            });
            if matches!(stop, Stop::End) {
                return;
            }
        }
        let is_apart = driver.set_apart(true);
        pipeline.wait_for_stderr(true);
        pipeline.resume();
        // If no other thread can drive the runtime this one goes on.
        if is_apart || !is_shared {
            let at_least = can_share.then(|| driver.time_apart());
            stop = wait::now(source.feed(&mut Blocking::new(fd, wake, at_least), pipeline));
        }
    }
}

/// Copies a worker's stderr as it is until the worker has ended.
fn copy_raw<P: Publisher, F: AsFd>(mut source: Source<'_>, pipeline: &mut Pipeline<P, F>) {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        match source.read(&mut chunk) {
            Next::Bytes(count) => pipeline.pass_raw(chunk.get(..count).unwrap_or_default()),
            Next::Nothing => source.wake.wait(Some(source.fd), None),
            Next::End => break,
        }
    }
    while !source.wake.has_ended() {
        source.wake.wait(None, None);
    }
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
