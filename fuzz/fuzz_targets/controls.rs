//! The controls of a subscriber have the same effect as in a simple model, for all contents and all chunks.
//! The input is [sizes of chunks](chunks::sizes) and the gRPC messages that the subscriber sends.

#![no_main]

mod chunks;
mod fnmatch;

use bytes::Bytes;
use fnmatch::fnmatchcase;
use http_body::Frame;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};
use telemetry_sidecar::{
    control::{Controls, Outcome, PatternLimits},
    event::{
        batch::{BatchBuilder, Event},
        frame::PREFIX_BYTES,
        proto::bridge::{TelemetryControl, TelemetryEvent, telemetry_control::Control},
        stats::{ConsumerStats, StreamStats},
    },
    grpc::{rate_limit::Throttle, service::controls},
    hub::{Hub, Limits, Subscription, WhenFull},
};
use xxhash_rust::xxh3::xxh3_64;

/// The limits of a subscription. The model does not count wildcards.
const LIMITS: PatternLimits = PatternLimits { wildcards: usize::MAX, ..PatternLimits::DEFAULT };

/// The longest control that is accepted, in bytes.
const MAX_CONTROL_BYTES: usize = LIMITS.control_bytes();

/// The maximum number of patterns in a subscription.
const MAX_PATTERNS: usize = LIMITS.count;

/// Limits of the names that are made from patterns, because the model is slow: their number, and their bytes.
const MAX_NAMES: usize = 6;
const MAX_NAME_BYTES: usize = 100;

/// Correlation ids. Events without one are sampled at random.
const IDS: [&str; 4] = ["", "a", "trace-1", "trace-2"];

fuzz_target!(|data: &[u8]| {
    let (sizes, wire) = chunks::sizes(data);
    let limits = Limits { events: 1024, bytes: 1024 * 1024, when_full: WhenFull::DropNewest };
    let hub = Hub::new(Controls::within(LIMITS), limits);
    let subscription = Arc::new(hub.subscribe("subscriber"));
    let body = Body::default();
    // The rate limit is so high that nothing waits, because there is no clock here.
    let throttle = Throttle::per_second(u32::MAX, Instant::now());
    let mut reader = controls::Reader::new(body.clone(), LIMITS, throttle);
    let mut reading = pin!(reader.apply_all(Arc::downgrade(&subscription)));
    let mut context = Context::from_waker(Waker::noop());

    let mut read = 0_usize;
    for size in sizes.into_iter().chain([usize::MAX]) {
        let end = wire.len().min(read.saturating_add(size));
        body.0.borrow_mut().push_back(Bytes::copy_from_slice(&wire[read..end]));
        read = end;
        assert!(reading.as_mut().poll(&mut context).is_pending(), "the stream goes on");
        compare(&hub, &subscription, &Model::after(&wire[..read]));
    }
});

/// The bytes that the subscriber has sent. The stream does not end.
#[derive(Clone, Default)]
struct Body(Rc<RefCell<VecDeque<Bytes>>>);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let next = self.0.borrow_mut().pop_front();
        next.map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
    }
}

/// Compares the events that are delivered with those of the model.
fn compare(hub: &Hub, subscription: &Subscription, model: &Model) {
    let names = model.names();
    let events: Vec<_> = names.iter().flat_map(|name| IDS.map(|id| (&**name, id))).collect();
    let before = stats(hub);
    publish(hub, &events);
    let delivered = take(subscription);
    let after = stats(hub);

    assert!(hub.snapshot().balances(), "the books: {after:?}");
    assert_eq!(after.controls_applied, model.applied, "applied");
    assert_eq!(after.controls_refused, model.refused, "refused");
    let (mut disabled, mut filtered) = (0, 0);
    let mut delivered = delivered.iter().map(|(name, id)| (&**name, &**id)).peekable();
    for event @ (name, id) in events {
        let verdict = model.verdict(name, id);
        let kept = delivered.next_if_eq(&event).is_some();
        assert!(verdict.is_none_or(|verdict| kept == (verdict == Outcome::Keep)), "{event:?}: {verdict:?}");
        disabled += u64::from(verdict == Some(Outcome::Disabled));
        filtered += u64::from(verdict == Some(Outcome::Filtered));
    }
    assert_eq!(delivered.next(), None, "delivered out of order");
    assert_eq!(after.disabled - before.disabled, disabled, "disabled");
    assert_eq!(after.filtered - before.filtered, filtered, "filtered");
}

fn stats(hub: &Hub) -> ConsumerStats {
    hub.snapshot().subscribers[0].stats
}

/// Publishes events with these names and correlation ids.
fn publish(hub: &Hub, events: &[(&str, &str)]) {
    let mut batch = BatchBuilder::default();
    for (name, id) in events {
        let event_parts = name.split('.').map(String::from).collect();
        let message = TelemetryEvent { event_parts, correlation_id: (*id).into(), ..Default::default() };
        let event = Event {
            name: name.as_bytes(),
            correlation_id: id.as_bytes(),
            timestamp_ns: 0,
            timestamp_given: true,
        };
        assert!(batch.push(&message.encode_to_vec(), event));
    }
    hub.publish(batch.take(), &StreamStats::default());
}

/// Takes the queued events and returns their names and correlation ids.
fn take(subscription: &Subscription) -> Vec<(String, String)> {
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(chunk) = subscription.poll_to_write(&mut context) {
        let frames = chunk.expect("the stream is open").frames;
        let mut frames = &frames[..];
        while !frames.is_empty() {
            let Message::Whole(message, length) = Message::first_of(frames) else {
                panic!("half a frame is delivered");
            };
            let event = TelemetryEvent::decode(message).expect("an event is delivered");
            events.push((event.event_parts.join("."), event.correlation_id));
            frames = &frames[length..];
        }
    }
    events
}

/// The first item in the bytes.
enum Message<'a> {
    /// A message, and its length with the prefix.
    Whole(&'a [u8], usize),
    /// A message that is compressed or too long, and its length with the prefix.
    Unreadable(usize),
    /// An incomplete message.
    Part,
}

impl<'a> Message<'a> {
    fn first_of(wire: &'a [u8]) -> Self {
        let Some(([compressed, length @ ..], rest)) = wire.split_first_chunk::<PREFIX_BYTES>() else {
            return Self::Part;
        };
        let length = u32::from_be_bytes(*length) as usize;
        if *compressed != 0 || length > MAX_CONTROL_BYTES {
            return Self::Unreadable(PREFIX_BYTES + length);
        }
        rest.get(..length).map_or(Self::Part, |message| Self::Whole(message, PREFIX_BYTES + length))
    }
}

/// The model of a subscription.
struct Model {
    applied: u64,
    refused: u64,
    enabled: bool,
    allow: Vec<String>,
    deny: Vec<String>,
    base: f64,
    /// Patterns and their rates, the newest last.
    rates: Vec<(String, f64)>,
}

impl Model {
    /// The state after all controls.
    fn after(mut wire: &[u8]) -> Self {
        let mut model = Self {
            applied: 0,
            refused: 0,
            enabled: true,
            allow: Vec::new(),
            deny: Vec::new(),
            base: 1.0,
            rates: Vec::new(),
        };
        loop {
            let length = match Message::first_of(wire) {
                Message::Whole(message, length) => {
                    model.message(message);
                    length
                }
                Message::Unreadable(length) => {
                    model.refused += 1;
                    length
                }
                Message::Part => return model,
            };
            wire = wire.get(length..).unwrap_or_default();
        }
    }

    fn message(&mut self, message: &[u8]) {
        let applied = match TelemetryControl::decode(message) {
            Ok(TelemetryControl { control: Some(control) }) => self.apply(control),
            // An empty control changes nothing.
            Ok(TelemetryControl { control: None }) => return,
            Err(_) => false,
        };
        self.applied += u64::from(applied);
        self.refused += u64::from(!applied);
    }

    /// Returns whether the control was applied.
    fn apply(&mut self, control: Control) -> bool {
        match control {
            Control::Toggle(toggle) => self.enabled = toggle.enabled,
            Control::Filter(filter)
                if filter.allow.len() + filter.deny.len() > MAX_PATTERNS
                    || filter.allow.iter().chain(&filter.deny).any(is_too_long) =>
            {
                return false;
            }
            Control::Filter(filter) => (self.allow, self.deny) = (filter.allow, filter.deny),
            Control::Sampling(update)
                if update.sampling_rate.is_nan() || update.event_patterns.iter().any(is_too_long) =>
            {
                return false;
            }
            Control::Sampling(update) => {
                let rate = update.sampling_rate.clamp(0.0, 1.0);
                if update.event_patterns.is_empty() {
                    self.base = rate;
                    self.rates.clear();
                    return true;
                }
                let mut rates = self.rates.clone();
                rates.retain(|(pattern, _)| !update.event_patterns.contains(pattern));
                rates.extend(update.event_patterns.into_iter().map(|pattern| (pattern, rate)));
                if rates.len() > MAX_PATTERNS {
                    return false;
                }
                self.rates = rates;
            }
        }
        true
    }

    /// Whether an event must be delivered; None if that is random.
    fn verdict(&self, name: &str, id: &str) -> Option<Outcome> {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fnmatchcase(name, pattern));
        if !self.enabled {
            return Some(Outcome::Disabled);
        }
        if any(&self.deny) || !self.allow.is_empty() && !any(&self.allow) {
            return Some(Outcome::Filtered);
        }
        let newest = self.rates.iter().rev().find(|(pattern, _)| fnmatchcase(name, pattern));
        let rate = newest.map_or(self.base, |(_, rate)| *rate);
        let keep = if rate >= 1.0 {
            true
        } else if rate <= 0.0 {
            false
        } else if id.is_empty() {
            return None;
        } else {
            // 53 bits of the hash, as a ratio from 0 to 1.
            #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
            let ratio = (xxh3_64(id.as_bytes()) >> 11) as f64 / 2f64.powi(53);
            ratio < rate
        };
        Some(if keep { Outcome::Keep } else { Outcome::SampledOut })
    }

    /// Names to filter, each once: common ones, one that is too long for the cache, and some that patterns
    /// match.
    fn names(&self) -> BTreeSet<String> {
        let usual = ["tool.execution.stop".into(), "a".into(), format!("tool.{}", "x".repeat(200))];
        let patterns = self.rates.iter().map(|(pattern, _)| pattern).chain(&self.deny).chain(&self.allow);
        let short = patterns.filter(|pattern| (1..=MAX_NAME_BYTES).contains(&pattern.len()));
        let matching = short.take(MAX_NAMES).map(|pattern| pattern.replace('*', "b.c").replace('?', "d"));
        usual.into_iter().chain(matching).collect()
    }
}

/// Whether the pattern exceeds the limit.
#[allow(clippy::ptr_arg, reason = "it stands for a closure over strings")]
fn is_too_long(pattern: &String) -> bool {
    pattern.len() > LIMITS.bytes
}
