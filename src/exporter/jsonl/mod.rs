//! `--export-jsonl`: every event as a JSON line, appended to a file by a thread of its own.

pub mod args;

pub use args::Settings;

use super::feed::{self, unpark_waker};
use crate::{
    event::{json, view::Views},
    hub::{Chunk, Subscription},
    pipeline::output::{Context, DrainEnd, ENDED_BY_SIGNAL, Output, Running, StartError, Undelivered, spawn},
    system::{
        fd::write_all, open::open_append, option::Given, thread::lower_priority, visible::escape_in_json,
    },
};
use std::{
    fs::File,
    path::PathBuf,
    pin::pin,
    task::{Context as TaskContext, Poll},
    thread,
    time::{Duration, Instant},
};

/// The exporter's name in counters.
pub const NAME: &str = "jsonl";

/// How much longer it writes if a signal has ended the drain: the file has no peer to wait for, and the
/// worker's end may still be published. Less than outputs have to count what they have not delivered.
const AFTER_SIGNAL: Duration = Duration::from_millis(250);

impl Output for Settings {
    fn appends_to(&self) -> Option<&Given<PathBuf>> {
        Some(&self.file)
    }

    fn destination(&self) -> Option<(&'static str, String)> {
        Some((NAME, self.file.value.display().to_string()))
    }

    fn start(self: Box<Self>, context: &Context) -> Result<Running, StartError> {
        let Given { value: path, origin } = &self.file;
        let file = open_append(path).map_err(|error| StartError::Option(origin.error(error)))?;
        let subscription = context.hub.register(NAME, feed::options(true), None);
        let drain_end = context.drain_end.clone();
        spawn(NAME, move |done| {
            lower_priority();
            let undelivered = export(&subscription, &file, &drain_end);
            drop(subscription);
            done.drained(undelivered.loss("event"));
        })
    }
}

/// Writes events until the stream or the drain has ended.
fn export(subscription: &Subscription, file: &File, drain_end: &DrainEnd) -> Undelivered {
    let waker = unpark_waker();
    let mut context = TaskContext::from_waker(&waker);
    let mut lines = Vec::new();
    let mut torn = false;
    let mut undelivered = Undelivered::default();
    let mut ended = pin!(drain_end.ended());
    let mut deadline = None;
    loop {
        if deadline.is_none()
            && let Poll::Ready(reason) = ended.as_mut().poll(&mut context)
        {
            let limit = if reason == ENDED_BY_SIGNAL { AFTER_SIGNAL } else { Duration::ZERO };
            deadline = Some(Instant::now() + limit);
        }
        let left = deadline.map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return undelivered;
        }
        let Chunk { frames, events, .. } = match subscription.poll_chunk(&mut context) {
            Poll::Ready(Some(chunk)) => chunk,
            Poll::Ready(None) => return undelivered,
            Poll::Pending => {
                left.map_or_else(thread::park, thread::park_timeout);
                continue;
            }
        };
        lines.clear();
        if torn {
            lines.push(b'\n');
        }
        let begin = lines.len();
        let mut views = Views::of(&frames);
        while let Some(event) = views.read() {
            json::write(&mut lines, event, Some(event.timestamp_ns()));
        }
        escape_in_json(&mut lines);
        match write_all(file, &lines) {
            Ok(()) => {
                torn = false;
                subscription.acknowledge(events);
            }
            // If the disk is full, the next lines are tried again.
            Err(unwritten) => {
                let written = lines.get(..unwritten.written).unwrap_or_default();
                let whole = written.iter().skip(begin).filter(|byte| **byte == b'\n').count() as u64;
                subscription.acknowledge(whole);
                subscription.drop_in_flight(events - whole);
                undelivered.add(events - whole, unwritten.error);
                // The file may end with half a line now. Start the next one on a new line.
                torn = written.last().map_or(torn, |last| *last != b'\n');
            }
        }
    }
}
