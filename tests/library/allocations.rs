//! How often memory is allocated on the way of an event from the worker's stderr to the chunk that a consumer
//! takes: never, once everything has been allocated that is used again.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    fs::File,
    hint::black_box,
    io,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};
use telemetry_sidecar::{
    control::{Control, Controls},
    hub::{Coalescer, ConsumerOptions, Hub, Limits, Subscription, Takes, WhenFull},
    input::{
        decode::Decoder,
        dialect,
        splitter::{Embedded, MAX_LINE_BYTES, Splitter},
    },
    pipeline::{Parts, Pipeline, passthrough::Passthrough, publisher::Dropping},
    system::log,
};

/// The system's allocator, which counts the calls of each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // At a thread's end there may be no counter any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often this thread allocates meanwhile.
fn allocations(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    act();
    ALLOCATIONS.get() - before
}

/// A waker as that of a task: shared, and with something to do.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// A worker's stderr, the hub, and consumers.
struct Path {
    pipeline: Pipeline<Dropping, File>,
    hub: Arc<Hub>,
    subscribers: Vec<Subscription>,
    exporters: Vec<Subscription>,
    waker: Waker,
    number: u64,
}

const LIMITS: Limits = Limits { events: 1_000, bytes: 1_000_000, when_full: WhenFull::DropNewest };

impl Path {
    fn new(subscribers: usize, exporters: usize) -> Self {
        let hub = Hub::new(Controls::default(), LIMITS);
        let options = ConsumerOptions {
            limits: LIMITS,
            takes_backlog: false,
            sampled: true,
            stays_after_leaving: true,
            takes: Takes::All,
        };
        let pipeline = Pipeline::new(Parts {
            splitter: Splitter::new(&dialect::SNAKEPIT, Embedded::Auto, MAX_LINE_BYTES),
            decoder: Decoder::default(),
            publisher: Dropping::new(Coalescer::new(Arc::clone(&hub)), None),
            passthrough: Passthrough::new(File::open("/dev/null").unwrap()),
            recorder: None,
            last_bytes: None,
            lines: None,
            log: log::Lines::default(),
        });
        Self {
            pipeline,
            subscribers: (0..subscribers).map(|_| hub.subscribe("subscriber")).collect(),
            exporters: (0..exporters).map(|_| hub.register("exporter", options, None)).collect(),
            hub,
            waker: Waker::from(Arc::new(Task)),
            number: 0,
        }
    }

    /// The worker prints this many events with a single write.
    fn print(&mut self, events: usize) {
        let room = self.pipeline.spare(64 * 1024);
        let mut rest = &mut room[..];
        for _ in 0..events {
            self.number += 1;
            let number = self.number;
            io::Write::write_fmt(
                &mut rest,
                format_args!(
                    "TELEMETRY:{{\"event\": \"tool.execution.stop\", \
                     \"measurements\": {{\"duration\": {number}, \"share\": 0.25}}, \
                     \"metadata\": {{\"tool\": \"resize\"}}, \
                     \"timestamp_ns\": 1700000000{number:09}, \"correlation_id\": \"c-{number}\"}}\n"
                ),
            )
            .unwrap();
        }
        let left = rest.len();
        self.pipeline.advance(64 * 1024 - left);
    }

    /// Every consumer takes and acknowledges what there is, and waits for more. Returns how many events there
    /// were for all of them together.
    fn take(&self) -> u64 {
        let mut context = Context::from_waker(&self.waker);
        let mut taken = 0;
        for subscription in self.subscribers.iter().chain(&self.exporters) {
            while let Poll::Ready(Some(mut chunk)) = subscription.poll_to_write(&mut context) {
                // The kernel may take a part first.
                let first = chunk.frames.read(100) as u64;
                let rest = chunk.frames.read(chunk.frames.len()) as u64;
                assert_eq!(first + rest, chunk.events);
                subscription.acknowledge(first);
                subscription.acknowledge(rest);
                taken += chunk.events;
            }
        }
        taken
    }

    /// `writes` times the worker writes `events` events, and then the consumers take them. How often that
    /// allocates, from then on that everything has its size.
    fn allocations(&mut self, writes: usize, events: usize) -> u64 {
        let mut round = |rounds: u64| {
            let mut taken = 0;
            for _ in 0..rounds {
                (0..writes).for_each(|_| self.print(events));
                taken += self.take();
            }
            taken
        };
        round(200);
        let mut taken = 0;
        let count = allocations(|| taken = round(100));
        let consumers = self.subscribers.len() + self.exporters.len();
        assert_eq!(taken, 100 * (writes * events * consumers) as u64);
        assert!(self.hub.snapshot().balances());
        count
    }
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![0; 1_000]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn a_single_event_is_published_taken_and_acknowledged_without_an_allocation() {
    for (subscribers, exporters) in [(1, 0), (1, 1), (3, 1)] {
        let count = Path::new(subscribers, exporters).allocations(1, 1);
        assert_eq!(count, 0, "{subscribers} subscribers, {exporters} exporters, 100 events");
    }
}

#[test]
fn without_a_subscriber_the_backlog_allocates_for_many_events_at_once() {
    let count = Path::new(0, 1).allocations(1, 1);
    assert!((1..50).contains(&count), "{count} for 100 events");
}

#[test]
fn events_that_are_taken_together_need_no_allocation_either() {
    for (writes, events) in [(5, 1), (50, 1), (1, 200), (7, 3)] {
        let count = Path::new(1, 1).allocations(writes, events);
        assert_eq!(count, 0, "{writes} writes of {events} events, 100 times");
    }
}

#[test]
fn a_filter_allocates_for_its_own_work_only() {
    let mut path = Path::new(1, 0);
    path.subscribers[0].control(Control::Filter { allow: Vec::new(), deny: vec!["other.*".to_owned()] });
    assert_eq!(path.allocations(1, 1), 100 * 3);
}
