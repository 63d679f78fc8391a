//! After a panic every byte that was read reaches stderr, once.

use super::*;
use crate::{
    input::{dialect, splitter::Embedded},
    pipeline::{driver::Driver, live, wake::Wake},
    system::log,
};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
};

/// Panics in one of its calls.
struct Panicking {
    publish_in: Option<usize>,
    account_in: Option<usize>,
    published: usize,
}

impl Panicking {
    fn count_down(calls: &mut Option<usize>) {
        match calls {
            Some(0) => panic!("as the test wants"),
            Some(calls) => *calls -= 1,
            None => {}
        }
    }
}

impl Publisher for Panicking {
    fn publish(&mut self, batch: Arc<Batch>, _: &StreamStats, _: &mut dyn FnMut()) {
        Self::count_down(&mut self.publish_in);
        self.published += batch.len();
    }

    fn account(&mut self, _: &StreamStats) {
        Self::count_down(&mut self.account_in);
    }
}

/// A pipeline that writes to a file; `publish_in` and `account_in` are how many calls succeed.
fn pipeline(publish_in: Option<usize>, account_in: Option<usize>) -> (Pipeline<Panicking, File>, File) {
    pipeline_to(Panicking { publish_in, account_in, published: 0 })
}

fn pipeline_to<P: Publisher>(publisher: P) -> (Pipeline<P, File>, File) {
    let stderr = tempfile::tempfile().unwrap();
    let pipeline = Pipeline::new(Parts {
        splitter: Splitter::new(&dialect::SNAKEPIT, Embedded::Copy, 1024 * 1024),
        decoder: Decoder::default(),
        publisher,
        passthrough: Passthrough::new(stderr.try_clone().unwrap()),
        recorder: None,
        last_bytes: None,
        lines: None,
        log: log::Lines::default(),
    });
    (pipeline, stderr)
}

fn contents(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

fn assert_balanced(stats: &StreamStats) {
    let accounted = stats.bytes_passed + stats.bytes_removed + stats.bytes_dropped + stats.bytes_held;
    assert_eq!(stats.bytes_read, accounted, "{stats:?}");
}

const EVENT: &str = "TELEMETRY:{\"event\": \"a\"}\n";

#[test]
fn ordinary_bytes_survive_a_panic_while_publishing() {
    for (publish_in, account_in) in [(Some(0), None), (None, Some(0)), (Some(0), Some(0))] {
        let (mut pipeline, stderr) = pipeline(publish_in, account_in);
        let (pipe, mut worker) = io::pipe().unwrap();
        let wake = Wake::new().unwrap();
        write!(worker, "first\n{EVENT}second, and held: \nTELEM").unwrap();
        drop(worker);
        wake.worker_ended();
        let mut channel = live::Channel::Pipe { grows: false };
        live::feed(&pipe.into(), &mut channel, &wake, &mut pipeline, &mut Driver::new().unwrap());
        assert_eq!(contents(stderr), "first\nsecond, and held: \nTELEM");
        assert_balanced(pipeline.stats());
    }
}

#[test]
fn the_end_does_not_wait_for_another_process_that_keeps_the_pipe_open() {
    let (mut pipeline, stderr) = pipeline(None, None);
    let (pipe, mut worker) = io::pipe().unwrap();
    let wake = Wake::new().unwrap();
    wake.worker_ended();
    // As if it had woken the reader together with the bytes.
    wake.wait(None, None);
    write!(worker, "last").unwrap();
    let pipe = pipe.into();
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut channel = live::Channel::Pipe { grows: false };
    live::feed(&pipe, &mut channel, &wake, &mut pipeline, &mut Driver::new().unwrap());
    assert_eq!(contents(stderr), "last");
    drop(worker);
}

#[test]
fn bytes_held_by_earlier_reads_survive_a_panic_and_later_bytes_are_copied() {
    let (mut pipeline, stderr) = pipeline(Some(1), None);
    let mut feed = |text: &str| {
        pipeline.spare(text.len()).copy_from_slice(text.as_bytes());
        let advance = std::panic::AssertUnwindSafe(|| pipeline.advance(text.len()));
        std::panic::catch_unwind(advance).is_err()
    };
    assert!(!feed("one TELEMETRY:{ \nTELEMETRY:{\"event\": "));
    assert!(feed("\"a\"}\ntwo\nTELEMET"));
    pipeline.pass_unfinished();
    // The first one's event was removed, and its counters with it.
    assert_balanced(pipeline.stats());
    pipeline.pass_raw(b"RY:{}\nthree");
    assert_balanced(pipeline.stats());
    assert_eq!(contents(stderr), "one TELEMETRY:{ \ntwo\nTELEMETRY:{}\nthree");
}

#[test]
fn events_of_a_read_that_was_not_split_to_the_end_pass_as_lines() {
    let (mut pipeline, stderr) = pipeline(None, None);
    let text = format!("one\n{EVENT}two");
    pipeline.spare(text.len()).copy_from_slice(text.as_bytes());
    // As advance does, up to a panic in the middle of the splitter's work.
    pipeline.held += pipeline.buffer.add(text.len()).len();
    pipeline.stats.bytes_read += text.len() as u64;
    pipeline.before_split = Some(pipeline.stats);
    pipeline.pass.push(0..4);
    pipeline.stats.bytes_removed += EVENT.len() as u64;
    pipeline.pass_unfinished();
    assert_eq!(contents(stderr), text);
    assert_balanced(pipeline.stats());
    assert_eq!(pipeline.publisher().published, 0);
}

/// Holds events back until `due`, as long as that is set.
#[derive(Default)]
struct HoldingBack {
    due: Option<Instant>,
    /// The timestamps of each batch.
    batches: Vec<Vec<i64>>,
    flushed: usize,
}

impl Publisher for HoldingBack {
    fn publish(&mut self, batch: Arc<Batch>, stats: &StreamStats, _: &mut dyn FnMut()) {
        assert_balanced(stats);
        let events = (0..batch.len()).filter_map(|index| batch.event(index));
        self.batches.extend((!batch.is_empty()).then(|| events.map(|event| event.timestamp_ns).collect()));
    }

    fn account(&mut self, stats: &StreamStats) {
        assert_balanced(stats);
    }

    fn flush_due(&self) -> Option<Instant> {
        self.due
    }

    fn flush(&mut self) {
        (self.due, self.flushed) = (None, self.flushed + 1);
    }
}

impl Pipeline<HoldingBack, File> {
    fn read(&mut self, text: &str, now: Instant) {
        self.spare(text.len())[..text.len()].copy_from_slice(text.as_bytes());
        self.advance_or_defer(text.len(), now);
    }

    /// How many events were published.
    fn published(&self) -> usize {
        self.publisher().batches.iter().map(Vec::len).sum()
    }
}

#[test]
fn telemetry_lines_wait_in_the_buffer_while_their_events_would_be_held_back() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let (mut pipeline, stderr) = pipeline_to(HoldingBack::default());
    pipeline.read(EVENT, now);
    assert_eq!(pipeline.published(), 1, "nothing holds it back");
    pipeline.parts.publisher.due = Some(now + Duration::from_millis(3));
    for text in [EVENT, &EVENT.repeat(2), "TELEMETRY:{\"event\": nothing}\n"] {
        pipeline.read(text, now);
    }
    assert_eq!(pipeline.published(), 1);
    let wait = pipeline.flush_at(now).unwrap();
    assert!(now + Duration::from_millis(3) < wait && wait < now + Duration::from_millis(5));
    assert_eq!(pipeline.flush_at(wait), None);
    assert_eq!((pipeline.publisher().batches[1].len(), pipeline.publisher().flushed), (3, 1));
    // Each has the time at which it was read.
    assert!(pipeline.publisher().batches[1].is_sorted());
    // Without a flush they wait for a moment only.
    pipeline.parts.publisher.due = Some(now + second);
    pipeline.read(EVENT, now);
    assert_eq!(pipeline.published(), 4);
    let wait = pipeline.flush_at(now).unwrap();
    assert!(wait < now + Duration::from_millis(10));
    pipeline.flush_at(wait);
    assert_eq!((pipeline.published(), pipeline.publisher().flushed), (5, 1));
    assert_eq!(contents(stderr), "TELEMETRY:{\"event\": nothing}\n");
    assert_balanced(pipeline.stats());
}

#[test]
fn anything_but_whole_telemetry_lines_is_processed_at_once_with_what_was_deferred() {
    let now = Instant::now();
    for (read, expected, passed) in [
        ("ordinary\n", 1, "ordinary\n"),
        (&format!("{EVENT}ordinary\n{EVENT}"), 3, "ordinary\n"),
        ("TELEMETRY:{\"event\": ", 1, ""),
        ("TELEMETRY: no event\n", 1, "TELEMETRY: no event\n"),
        ("\n", 1, "\n"),
        (&EVENT.repeat(1_000), 1_001, ""),
    ] {
        let (mut pipeline, stderr) = pipeline_to(HoldingBack::default());
        pipeline.parts.publisher.due = Some(now + Duration::from_secs(1));
        pipeline.read(EVENT, now);
        assert_eq!(pipeline.published(), 0);
        pipeline.read(read, now);
        assert_eq!((pipeline.published(), contents(stderr)), (expected, passed.into()), "{read:?}");
    }
}

#[test]
fn a_telemetry_line_after_an_unfinished_line_is_not_deferred() {
    let now = Instant::now();
    let (mut pipeline, stderr) = pipeline_to(HoldingBack::default());
    pipeline.parts.publisher.due = Some(now + Duration::from_secs(1));
    pipeline.read("50 %", now);
    pipeline.read(EVENT, now);
    assert_eq!((pipeline.published(), contents(stderr)), (1, format!("50 %{EVENT}")));
}

#[test]
fn deferred_lines_are_processed_at_the_end_and_survive_a_panic() {
    let now = Instant::now();
    let (mut pipeline, _stderr) = pipeline_to(HoldingBack::default());
    pipeline.parts.publisher.due = Some(now + Duration::from_secs(1));
    pipeline.read(EVENT, now);
    pipeline.finish();
    assert_eq!(pipeline.published(), 1);
    let (mut pipeline, stderr) = pipeline_to(HoldingBack::default());
    pipeline.parts.publisher.due = Some(now + Duration::from_secs(1));
    pipeline.read(EVENT, now);
    pipeline.pass_unfinished();
    assert_eq!((pipeline.published(), contents(stderr)), (0, EVENT.into()));
    assert_balanced(pipeline.stats());
}
