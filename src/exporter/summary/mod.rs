//! `--summary`: a thread that keeps the [digest](super::digest) of all events, which is printed at the end.
//!
//! It is no exporter to anybody: reports leave it out, a replay that has nothing else waits for subscribers,
//! and what it has to drop is no loss but said in the summary itself.

pub mod args;
pub mod json;
pub mod text;

pub use args::{Settings, When};

use super::{
    digest::{Digest, Limits},
    feed::{self, unpark_waker},
};
use crate::{
    hub::{Chunk, ConsumerOptions, Subscription, Takes},
    pipeline::output::{Context, Loss, Running, StartError, spawn},
    status::{Report, SUMMARY},
    system::thread::lower_priority,
};
use std::{
    ffi::OsString,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context as TaskContext, Poll},
    thread,
    time::{Duration, Instant},
};

/// While a worker runs, its queue is emptied at this interval: a wake-up for each event would cost more than
/// to digest it.
const INTERVAL: Duration = Duration::from_millis(100);

/// The digest of a run.
#[derive(Debug)]
pub struct Summary {
    digest: Arc<Mutex<Digest>>,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Run<'a> {
    /// The worker's program, without its path; none in a replay.
    pub program: Option<&'a str>,
    /// The worker's command line, or the recordings of a replay.
    pub words: &'a [OsString],
    /// How long it took.
    pub time: Duration,
    /// The operations and measurements.
    pub digest: &'a Digest,
    /// All counters.
    pub report: &'a Report,
    /// The files and addresses of exporters and of the recording, by their names.
    pub destinations: &'a [(&'static str, String)],
    /// What was lost, as lines.
    pub losses: &'a [String],
    /// What outputs have lost, with their names.
    pub undelivered: &'a [(String, Loss)],
}

impl Summary {
    /// Starts the thread, which digests what is published from now on.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub fn start(context: &Context) -> Result<(Self, Running), StartError> {
        // What is observed of the worker is in the first line.
        let options = ConsumerOptions { takes: Takes::NoObserved, ..feed::options(false) };
        let subscription = context.hub.register(SUMMARY, options, None);
        let digest = Arc::new(Mutex::new(Digest::new(Limits::default())));
        let summary = Self { digest: Arc::clone(&digest) };
        // A replay waits for it.
        let pauses = context.mode.worker().is_some();
        let drain_end = context.drain_end.clone();
        let running = spawn(SUMMARY, move |done| {
            lower_priority();
            let ended = async {
                drain_end.ended().await;
            };
            run(&subscription, &digest, pauses, ended);
            drop(subscription);
            done.drained([]);
        })?;
        Ok((summary, running))
    }

    /// The digest of the events up to now.
    pub fn digest(&self) -> Digest {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Digests events until the stream or the drain has ended; at intervals, if it pauses.
fn run(subscription: &Subscription, digest: &Mutex<Digest>, pauses: bool, ended: impl Future<Output = ()>) {
    let waker = unpark_waker();
    let mut context = TaskContext::from_waker(&waker);
    let mut ended = pin!(ended);
    loop {
        if ended.as_mut().poll(&mut context).is_ready() {
            return;
        }
        match subscription.poll_chunk(&mut context) {
            Poll::Ready(Some(Chunk { frames, events, .. })) => {
                let added = digest.lock().unwrap_or_else(PoisonError::into_inner).add_frames(&frames);
                subscription.acknowledge(added);
                // None, unless a frame does not decode.
                subscription.drop_in_flight(events.saturating_sub(added));
            }
            Poll::Ready(None) => return,
            Poll::Pending => {
                thread::park();
                if pauses {
                    pause(subscription, &mut context);
                }
            }
        }
    }
}

/// Waits for the interval, or until the queue is half full or the stream has ended.
fn pause(subscription: &Subscription, context: &mut TaskContext<'_>) {
    let end = Instant::now() + INTERVAL;
    while subscription.poll_half_full(context).is_pending() {
        let rest = end.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return;
        }
        thread::park_timeout(rest);
    }
}
