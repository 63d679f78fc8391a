//! `--export-jsonl`: every event as a JSON line, appended to a file by a thread of its own.

pub mod args;

pub use args::Settings;

use super::feed::{self, unpark_waker};
use crate::{
    event::{json, view::Views},
    hub::{Chunk, Subscription},
    pipeline::output::{Context, DrainEnd, Output, Running, StartError, Undelivered, spawn},
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
};

/// The exporter's name in counters.
pub const NAME: &str = "jsonl";

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
    loop {
        if ended.as_mut().poll(&mut context).is_ready() {
            return undelivered;
        }
        let Chunk { frames, events, .. } = match subscription.poll_chunk(&mut context) {
            Poll::Ready(Some(chunk)) => chunk,
            Poll::Ready(None) => return undelivered,
            Poll::Pending => {
                thread::park();
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
