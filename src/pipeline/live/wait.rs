//! How the reading thread waits.

use super::super::{driver::Load, wake::Wake};
use nix::sys::{
    time::TimeSpec,
    timerfd::{Expiration, TimerFd, TimerSetTimeFlags},
};
use std::{
    future::poll_fn,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
};

/// How a thread waits for the worker's bytes.
pub(super) trait Wait {
    /// Waits until there are bytes, if `for_bytes`, or the thread is [woken](Wake), or it is `due`.
    async fn wait(&mut self, for_bytes: bool, due: Option<Instant>);

    /// Lets others have a turn that this thread works for.
    async fn turn(&mut self);

    /// All bytes that there were have been read.
    fn emptied(&mut self);

    /// Whether the thread should wait in the other way from now on. `is_busy` says that it has much to read
    /// or had to wait for stderr.
    fn is_over(&mut self, is_busy: bool, now: Instant) -> bool;
}

/// The thread drives the runtime while it waits.
pub(super) struct Sharing<'a> {
    pipe: AsyncFd<BorrowedFd<'a>>,
    woken: AsyncFd<BorrowedFd<'a>>,
    wake: &'a Wake,
    /// tokio's own timers wake the runtime once more when they are set.
    timer: AsyncFd<BorrowedFd<'a>>,
    timer_fd: &'a TimerFd,
    /// What the timer is set to.
    due: Option<Instant>,
    load: &'a Load,
}

impl<'a> Sharing<'a> {
    /// Has to be called within the runtime.
    ///
    /// # Errors
    ///
    /// If the system refuses to watch the descriptors.
    pub(super) fn new(
        pipe: &'a OwnedFd,
        wake: &'a Wake,
        timer_fd: &'a TimerFd,
        load: &'a Load,
    ) -> io::Result<Self> {
        // SAFETY: a borrowed descriptor stays open and the same for as long as this borrows it.
        let watch = |fd| unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        let (pipe, woken, timer) = (watch(pipe.as_fd())?, watch(wake.as_fd())?, watch(timer_fd.as_fd())?);
        load.reset();
        Ok(Self { pipe, woken, wake, timer, timer_fd, due: None, load })
    }
}

impl Wait for Sharing<'_> {
    async fn wait(&mut self, for_bytes: bool, due: Option<Instant>) {
        if let Some(at) = due.filter(|_| due != self.due) {
            // Zero would disarm it.
            let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            // With these arguments it cannot fail.
            let _ = self.timer_fd.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty());
            self.due = due;
        }
        poll_fn(|context| {
            let is_readable = for_bytes && self.pipe.poll_read_ready(context).is_ready();
            let is_woken = take_ready(&self.woken, context);
            if is_woken {
                self.wake.reset();
            }
            let is_due = take_ready(&self.timer, context);
            if is_readable || is_woken || is_due { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn turn(&mut self) {
        yield_now().await;
    }

    fn emptied(&mut self) {
        take_ready(&self.pipe, &mut Context::from_waker(Waker::noop()));
    }

    fn is_over(&mut self, is_busy: bool, _: Instant) -> bool {
        is_busy || self.load.is_high()
    }
}

/// Whether a descriptor is readable. Until it is so anew it is not any more.
fn take_ready(fd: &AsyncFd<BorrowedFd<'_>>, context: &mut Context<'_>) -> bool {
    let Poll::Ready(ready) = fd.poll_read_ready(context) else { return false };
    if let Ok(mut ready) = ready {
        ready.clear_ready();
    }
    true
}

/// The thread sleeps while it waits.
pub(super) struct Blocking<'a> {
    pipe: &'a OwnedFd,
    wake: &'a Wake,
    /// How long it reads in this way after it was busy; without, for ever.
    at_least: Option<Duration>,
    until: Option<Instant>,
}

impl<'a> Blocking<'a> {
    pub(super) fn new(pipe: &'a OwnedFd, wake: &'a Wake, at_least: Option<Duration>) -> Self {
        let until = at_least.and_then(|time| Instant::now().checked_add(time));
        Self { pipe, wake, at_least, until }
    }
}

impl Wait for Blocking<'_> {
    async fn wait(&mut self, for_bytes: bool, due: Option<Instant>) {
        let limit = due.map(|due| TimeSpec::from(due.saturating_duration_since(Instant::now())));
        self.wake.wait(for_bytes.then_some(self.pipe), limit);
    }

    async fn turn(&mut self) {}

    fn emptied(&mut self) {}

    fn is_over(&mut self, is_busy: bool, now: Instant) -> bool {
        if is_busy {
            self.until = self.at_least.and_then(|time| now.checked_add(time));
        }
        self.until.is_some_and(|until| now >= until)
    }
}

/// The output of a future whose waits block the thread, so that it is never pending.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}
