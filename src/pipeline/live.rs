//! The live source: a thread that reads the worker's stderr.
//!
//! Plain blocking reads and writes on a thread of its own. It sleeps in `poll` on the pipe and on an eventfd that
//! tells it of the worker's end and of log lines. At the worker's end the bytes that are then in the pipe are
//! processed and no more: a grandchild that goes on writing does not hold the exit.
//!
//! The pipe starts at the system's size and is enlarged while reads come full, because a user has a budget of
//! pipe memory and most workers need none of it.
//!
//! To be woken for every line would cost the worker, who does the waking, as much as the sidecar. While lines come
//! close behind each other the reader does not wait for the next one but takes a nap, and then reads what has come.

use super::{Pipeline, Publisher, passthrough::Passthrough};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        prctl::set_timerslack,
        time::TimeSpec,
    },
    unistd::read,
};
use std::{
    io::IoSlice,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// The largest read, and the size of a pipe on Linux, in bytes. What is read and what it becomes fit a core's cache.
const READ_BYTES: usize = 64 * 1024;
/// A read of so much is no sign that the pipe is empty: writers do not write to the byte what it holds.
const PLENTY_BYTES: usize = READ_BYTES / 2;
/// The largest pipe that an unprivileged process may have by default (`/proc/sys/fs/pipe-max-size`).
const MAX_PIPE_BYTES: usize = 1024 * 1024;

/// Reads closer behind each other are not waited for one by one.
const QUICK: Duration = Duration::from_micros(400);
/// How long bytes may come together then: nobody sees that, and it is several lines of a busy Python worker.
const NAP: TimeSpec = TimeSpec::new(0, 150_000);

/// What wakes the reader other than the worker's bytes.
///
/// No wake-up is lost. What there is to see, the flag or a log line, is there before the descriptor's count is raised; the
/// reader sets the count back first and looks afterwards. If the count is raised after that, the next wait returns at once.
/// A nap may end without a look at the count, which then stays as it is. Release and Acquire say so of the flag alone;
/// log lines are under a lock of their own.
#[derive(Debug)]
pub struct Wake {
    fd: EventFd,
    worker_ended: AtomicBool,
}

impl Wake {
    /// A quiet one.
    ///
    /// # Errors
    ///
    /// If the system refuses a descriptor.
    pub fn new() -> nix::Result<Self> {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { fd, worker_ended: AtomicBool::new(false) })
    }

    /// There is a log line to print.
    pub fn nudge(&self) {
        // It fails when it is full, and then the reader is awake.
        let _ = self.fd.write(1);
    }

    /// The worker has ended.
    pub fn worker_ended(&self) {
        self.worker_ended.store(true, Ordering::Release);
        self.nudge();
    }

    /// Sleeps until something happens here, there are bytes in the pipe, or the time is over.
    fn wait(&self, pipe: Option<&OwnedFd>, limit: Option<TimeSpec>) {
        let fds = [self.fd.as_fd(), pipe.map_or(self.fd.as_fd(), OwnedFd::as_fd)];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // Whatever it says, the next read finds out.
        let _ = ppoll(&mut fds, limit, None);
        if fds[0].any() != Some(false) {
            let _ = self.fd.read();
        }
    }

    fn has_ended(&self) -> bool {
        self.worker_ended.load(Ordering::Acquire)
    }
}

/// The worker's pipe, read until the worker has ended and what it wrote is read.
struct Source<'a> {
    pipe: &'a OwnedFd,
    wake: &'a Wake,
    /// Once the worker has ended: what is left of the bytes that were then in the pipe.
    left: Option<usize>,
}

/// What a source has.
enum Next {
    /// So many bytes were read.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// There will be no more.
    End,
}

impl<'a> Source<'a> {
    fn new(pipe: &'a OwnedFd, wake: &'a Wake) -> Self {
        Self { pipe, wake, left: None }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Next {
        if self.left.is_none() && self.wake.has_ended() {
            self.left = Some(bytes_in(self.pipe));
        }
        let size = self.left.unwrap_or(usize::MAX).min(buffer.len());
        match buffer.get_mut(..size).map(|buffer| read(self.pipe, buffer)) {
            Some(Ok(count)) if count > 0 => {
                self.left = self.left.map(|left| left - count);
                Next::Bytes(count)
            }
            Some(Err(Errno::EAGAIN | Errno::EINTR)) if self.left.is_none() => Next::Nothing,
            _ => Next::End,
        }
    }

    /// Waits for bytes.
    fn sleep(&self) {
        self.wake.wait(Some(self.pipe), None);
    }

    /// Lets bytes come together.
    fn nap(&self) {
        self.wake.wait(None, Some(NAP));
    }

    /// A worker may close its stderr and live on.
    fn outlive_worker(&self, mut meanwhile: impl FnMut()) {
        while !self.wake.has_ended() {
            meanwhile();
            self.wake.wait(None, None);
        }
    }
}

/// Feeds a worker's stderr to the pipeline until the worker has ended and all that it wrote is processed. A pipe
/// of fixed size is not enlarged.
pub fn feed<P: Publisher, F: AsFd>(
    pipe: &OwnedFd,
    fixed_size: bool,
    wake: &Wake,
    pipeline: &mut Pipeline<P, F>,
) {
    // A nap is short, and not to be rounded up.
    let _ = set_timerslack(1);
    let mut source = Source::new(pipe, wake);
    let mut growth = Growth::new(!fixed_size);
    let mut rhythm = Rhythm::default();
    loop {
        match source.read(pipeline.spare(READ_BYTES)) {
            Next::Bytes(count) => {
                pipeline.advance(count);
                pipeline.print_log();
                rhythm.note_read(Instant::now());
                if count >= PLENTY_BYTES {
                    growth.after_full_read(pipe);
                    continue;
                }
            }
            Next::Nothing => pipeline.print_log(),
            Next::End => break,
        }
        if rhythm.wants_nap() {
            source.nap();
        } else {
            source.sleep();
        }
    }
    pipeline.finish();
    source.outlive_worker(|| pipeline.print_log());
}

/// Copies a worker's stderr as it is until the worker has ended: what is left to do when everything else failed.
pub fn copy_raw(pipe: &OwnedFd, wake: &Wake, stderr: &impl AsFd) {
    let mut passthrough = Passthrough::new(stderr);
    let mut chunk = vec![0; READ_BYTES];
    let mut source = Source::new(pipe, wake);
    loop {
        match source.read(&mut chunk) {
            Next::Bytes(count) => {
                passthrough.write(&mut [IoSlice::new(chunk.get(..count).unwrap_or_default())]);
            }
            Next::Nothing => source.sleep(),
            Next::End => break,
        }
    }
    source.outlive_worker(|| {});
}

/// How many bytes wait in a pipe.
fn bytes_in(pipe: &OwnedFd) -> usize {
    let mut count: nix::libc::c_int = 0;
    // SAFETY: FIONREAD writes one int through the pointer, which is valid for that.
    let result = unsafe { fionread(pipe.as_raw_fd(), &raw mut count) };
    result.ok().and_then(|_| usize::try_from(count).ok()).unwrap_or(0)
}

nix::ioctl_read_bad!(
    /// How many bytes wait in a pipe.
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

    /// Enlarges the pipe after a read that came full, until the system says no.
    fn after_full_read(&mut self, pipe: &OwnedFd) {
        if !self.allowed || self.pipe_bytes >= MAX_PIPE_BYTES {
            return;
        }
        let larger = self.pipe_bytes * 2;
        match i32::try_from(larger).map(|size| fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size))) {
            Ok(Ok(_)) => self.pipe_bytes = larger,
            _ => self.allowed = false,
        }
    }
}

/// How close behind each other the worker's lines come.
#[derive(Default)]
struct Rhythm {
    last_read: Option<Instant>,
    /// Whether the last two reads came soon behind each other, so that the next one will, too.
    quick: bool,
}

impl Rhythm {
    fn note_read(&mut self, now: Instant) {
        let last = self.last_read.replace(now);
        self.quick = last.is_some_and(|last| now - last < QUICK);
    }

    /// Once for each read that came quickly. If nothing has come meanwhile, it is time to sleep.
    fn wants_nap(&mut self) -> bool {
        std::mem::take(&mut self.quick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nap_for_each_quick_read_and_none_for_others() {
        let mut rhythm = Rhythm::default();
        let mut now = Instant::now();
        let mut naps_after = |pause| {
            now += pause;
            rhythm.note_read(now);
            (rhythm.wants_nap(), rhythm.wants_nap())
        };
        assert_eq!(naps_after(Duration::ZERO), (false, false), "the first");
        assert_eq!(naps_after(QUICK / 2), (true, false));
        assert_eq!(naps_after(Duration::ZERO), (true, false));
        assert_eq!(naps_after(QUICK), (false, false));
        assert_eq!(naps_after(QUICK / 2), (true, false));
    }

    #[test]
    fn a_wake_up_that_comes_before_the_wait_is_not_lost() {
        let wake = Wake::new().unwrap();
        wake.nudge();
        wake.worker_ended();
        // Would be for ever.
        wake.wait(None, None);
        assert!(wake.has_ended());
        // Both were one, and are over.
        let start = Instant::now();
        wake.wait(None, Some(NAP));
        assert!(start.elapsed() >= Duration::from(NAP));
    }
}
