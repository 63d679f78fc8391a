//! The live source: a thread that reads the worker's stderr.
//!
//! Plain blocking reads and writes on a thread of its own. It sleeps in `poll` on the pipe and on an eventfd that
//! tells it of the worker's end and of log lines. At the worker's end the bytes that are then in the pipe are
//! processed and no more: a grandchild that goes on writing does not hold the exit.
//!
//! The pipe starts at the system's size and is enlarged while reads come full, because a user has a budget of
//! pipe memory and most workers need none of it.

use crate::{
    passthrough::Passthrough,
    pipeline::{Pipeline, Publisher},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
    unistd::read,
};
use std::{
    io::IoSlice,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// The first read size, and the size of a pipe on Linux, in bytes.
const MIN_READ_BYTES: usize = 64 * 1024;
/// The largest read: what fits a core's cache.
const MAX_READ_BYTES: usize = 256 * 1024;
/// The largest pipe that an unprivileged process may have by default (`/proc/sys/fs/pipe-max-size`).
const MAX_PIPE_BYTES: usize = 1024 * 1024;

/// What wakes the reader other than the worker's bytes.
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

    /// Sleeps until something happens here, or there are bytes in the pipe.
    fn wait(&self, pipe: Option<&OwnedFd>) {
        let mut fds = vec![PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        fds.extend(pipe.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        // Whatever it says, the next read finds out.
        let _ = poll(&mut fds, PollTimeout::NONE);
        let _ = self.fd.read();
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

    fn sleep(&self) {
        self.wake.wait(Some(self.pipe));
    }

    /// A worker may close its stderr and live on.
    fn outlive_worker(&self, mut meanwhile: impl FnMut()) {
        while !self.wake.has_ended() {
            meanwhile();
            self.wake.wait(None);
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
    let mut source = Source::new(pipe, wake);
    let mut growth = Growth::new(!fixed_size);
    loop {
        match source.read(pipeline.spare(growth.read_bytes)) {
            Next::Bytes(count) => {
                pipeline.advance(count);
                growth.after_read(pipe, count);
                pipeline.print_log();
            }
            Next::Nothing => {
                pipeline.print_log();
                source.sleep();
            }
            Next::End => break,
        }
    }
    pipeline.finish();
    source.outlive_worker(|| pipeline.print_log());
}

/// Copies a worker's stderr as it is until the worker has ended: what is left to do when everything else failed.
pub fn copy_raw(pipe: &OwnedFd, wake: &Wake, stderr: &impl AsFd) {
    let mut passthrough = Passthrough::new(stderr);
    let mut chunk = vec![0; MIN_READ_BYTES];
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
    read_bytes: usize,
    allowed: bool,
}

impl Growth {
    fn new(allowed: bool) -> Self {
        Self { pipe_bytes: MIN_READ_BYTES, read_bytes: MIN_READ_BYTES, allowed }
    }

    /// Enlarges the pipe after a read that came full, until the system says no.
    fn after_read(&mut self, pipe: &OwnedFd, count: usize) {
        if !self.allowed || count < self.read_bytes || self.pipe_bytes >= MAX_PIPE_BYTES {
            return;
        }
        let larger = self.pipe_bytes * 2;
        match i32::try_from(larger).map(|size| fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size))) {
            Ok(Ok(_)) => {
                self.pipe_bytes = larger;
                self.read_bytes = larger.min(MAX_READ_BYTES);
            }
            _ => self.allowed = false,
        }
    }
}
