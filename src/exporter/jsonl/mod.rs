//! `--export-jsonl`: every event as a JSON line, appended to a file by a thread of its own.

pub mod args;

use super::{event, feed::stand_back};
use crate::{
    event::json,
    hub::{Chunk, Subscription},
    system::fd::write_all,
};
use std::{
    fs::File,
    io,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

/// The exporter's name in the books.
pub const NAME: &str = "jsonl";

/// Starts the thread. It ends when the hub is closed and everything is written.
///
/// # Errors
///
/// If there can be no thread.
pub fn start(subscription: Subscription, file: File) -> io::Result<()> {
    let name = thread::Builder::new().name(NAME.into());
    let run = move || {
        stand_back();
        export(&subscription, &file);
    };
    name.spawn(run).map(drop)
}

fn export(subscription: &Subscription, file: &File) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut lines = Vec::new();
    let mut torn = false;
    loop {
        let Chunk { frames, events } = match subscription.poll_chunk(&mut context) {
            Poll::Ready(Some(chunk)) => chunk,
            Poll::Ready(None) => return,
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
        for event in event::decode(frames) {
            // Writing to a Vec does not fail.
            let _ = json::write(&mut lines, &event, Some(event.timestamp_ns));
        }
        match write_all(file, &lines) {
            Ok(()) => {
                torn = false;
                subscription.acknowledge(events);
            }
            // A full disk: the next ones may find room.
            Err(unwritten) => {
                let written = lines.get(..unwritten.written).unwrap_or_default();
                let whole = written.iter().skip(begin).filter(|byte| **byte == b'\n').count() as u64;
                subscription.acknowledge(whole);
                subscription.drop_in_flight(events - whole);
                // Half a line may stand there now. The next one is to be whole.
                torn = written.last().map_or(torn, |last| *last != b'\n');
            }
        }
    }
}

/// Wakes a thread as if it were a task. One that is woken before it parks does not park: std keeps that in mind for it.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
