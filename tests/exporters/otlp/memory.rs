//! The memory of the OTLP exporter: only open traces are kept, and their number is limited.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::{Duration, Instant},
};
use telemetry_sidecar::{
    event::{proto::bridge::TelemetryEvent, view::View},
    exporter::{
        metrics::{
            aggregate::{Aggregator, Histograms},
            buckets::Buckets,
            sample::Measures,
        },
        otlp::{
            queue::Queue,
            spans::{Options, Spans},
        },
    },
};

/// The system's allocator. It counts the bytes in use for each thread, because other tests run in other
/// threads.
struct Counting;

thread_local! {
    // Neither initialization nor a destructor: the allocator may run at any time in a thread's life.
    static USED: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    USED.with(|used| used.set(used.get() + bytes));
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps to the contract of `System`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller keeps to the contract of `System`, which is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: isize = 1024 * 1024;

fn event(phase: &str, number: i64) -> TelemetryEvent {
    TelemetryEvent {
        event_parts: vec!["tool".into(), "execution".into(), phase.into()],
        metadata: [("tool", "predict"), ("worker_id", "worker-17"), ("session_id", "0123456789abcdef")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        timestamp_ns: number,
        correlation_id: format!("7f9c24e8-3b12-4fa1-0b3c-{number:012}"),
        ..TelemetryEvent::default()
    }
}

#[test]
fn a_hundred_thousand_traces_take_a_few_megabytes() {
    let now = Instant::now();
    let before = USED.get();
    let used = || USED.get() - before;
    let instance = "instance".into();
    let mut spans =
        Spans::new(Options { flat: false, timeout: Duration::from_secs(600), instance, run: None });
    // The default size; the queue is never emptied.
    let mut queue = Queue::new(2048, false);
    let mut aggregator = Aggregator::new(1000, Histograms::Explicit(Buckets::default()));
    let measures = Measures::default();
    let mut take = |spans: &mut Spans, queue: &mut Queue, phase, number| {
        let event = event(phase, number);
        let view = View::from(&event);
        spans.take(&view, now, queue);
        for sample in measures.samples(&view) {
            aggregator.add(&sample, measures.labels(&view), number, None);
        }
    };

    for number in 0..100_000 {
        take(&mut spans, &mut queue, "start", number);
        take(&mut spans, &mut queue, "stop", number);
    }
    assert!(used() < 5 * MIB, "after whole spans: {} bytes", used());
    // The worker never ends these spans.
    for number in 0..100_000 {
        take(&mut spans, &mut queue, "start", number);
    }
    assert!(used() < 16 * MIB, "with all open that may be: {} bytes", used());
    spans.close(now, &mut queue);
    assert!(used() < 5 * MIB, "after the end: {} bytes", used());
}
