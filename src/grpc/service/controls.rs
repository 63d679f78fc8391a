//! A subscriber's side of the stream: gRPC messages with controls in them.
//!
//! A message that cannot be read is refused and changes nothing, not even that the next one is read: its
//! length is known whether it is compressed, too long or no protobuf at all. tonic's reader would end with
//! the first of these.
//!
//! Controls beyond the rate limit wait. Refusing them would silently lose the client's latest state. They are
//! still read into a buffer, and when it is full HTTP/2's flow control stops the client. If they were left
//! unread, h2 would close the connection because of many small frames long before a window is used up.

use crate::grpc::rate_limit::Throttle;
use crate::{
    control::{Control, PatternLimits},
    event::{
        frame::{Deframer, Skipped},
        proto::bridge::{TelemetryControl, telemetry_control},
    },
    hub::{Opening, Subscription},
};
use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use prost::Message as _;
use std::{
    future::{pending, ready},
    pin::{Pin, pin},
    sync::Weak,
};
use tokio::time::{Instant, sleep};

/// How many bytes count as one control: compiling patterns takes time by their length.
const BYTES_OF_ONE: usize = 1024;

/// How many patterns and wildcards in force count as one more: after a control all of them may have to be
/// tried for names that were known before.
const WORK_OF_ONE: usize = 64;

/// About how many bytes of controls may wait, if none is longer: what a client may send to begin with, before
/// it knows of a smaller window (RFC 9113, section 6.9.2).
const MAX_WAITING_BYTES: usize = 64 * 1024;

/// The client's side of a stream.
pub struct Reader<B> {
    /// None after the client has closed it.
    body: Option<Pin<Box<B>>>,
    /// Whether the stream was reset.
    failed: bool,
    messages: Deframer,
    throttle: Throttle,
}

impl<B: HttpBody<Data = Bytes>> Reader<B> {
    /// A reader of controls within these limits.
    pub fn new(body: B, limits: PatternLimits, throttle: Throttle) -> Self {
        let messages = Deframer::new(limits.control_bytes(), MAX_WAITING_BYTES);
        Self { body: Some(Box::pin(body)), failed: false, messages, throttle }
    }

    /// Waits until the client has sent a control or closed its side; for ever, if it has disconnected.
    pub async fn first(&mut self) {
        while self.messages.next_length().is_none() && self.body.is_some() {
            self.read_more().await;
        }
        if self.failed {
            pending::<()>().await;
        }
    }

    /// Applies the controls that have arrived, as far as the rate limit allows it at once.
    pub async fn apply_arrived(&mut self, opening: &mut Opening) {
        loop {
            let Some(length) = self.messages.next_length() else {
                let more = tokio::select! {
                    biased;
                    () = self.read_more(), if self.body.is_some() => true,
                    () = ready(()) => false,
                };
                if more {
                    continue;
                }
                return;
            };
            if !self.throttle.take_at_once(weight(length, opening.pattern_work()), now()) {
                return;
            }
            match self.messages.next().map(decode) {
                Some(Ok(Some(control))) => opening.control(control),
                Some(Err(Unreadable)) => opening.refuse_control(),
                Some(Ok(None)) | None => {}
            }
        }
    }

    /// Applies controls until the client closes its side, which does not end the stream.
    pub async fn apply_all(&mut self, subscription: Weak<Subscription>) {
        loop {
            if let Some(length) = self.messages.next_length() {
                let Some(work) = subscription.upgrade().map(|subscription| subscription.pattern_work())
                else {
                    return;
                };
                let wait = self.throttle.take(weight(length, work), now());
                if !wait.is_zero() {
                    let mut wait = pin!(sleep(wait));
                    tokio::select! {
                        () = &mut wait => {}
                        () = self.fill() => wait.await,
                    }
                }
                let (Some(subscription), Some(message)) = (subscription.upgrade(), self.messages.next())
                else {
                    return;
                };
                match decode(message) {
                    Ok(Some(control)) => subscription.control(control),
                    Ok(None) => {}
                    Err(Unreadable) => subscription.refuse_control(),
                }
            } else if self.body.is_some() {
                self.read_more().await;
            } else {
                return;
            }
        }
    }

    /// Reads to the end of the request, or of the connection.
    pub async fn discard(mut self) {
        while let Some(open) = &mut self.body {
            if !matches!(open.frame().await, Some(Ok(_))) {
                return;
            }
        }
    }

    /// Reads as long as there is room.
    async fn fill(&mut self) {
        while self.body.is_some() && self.messages.has_room() {
            self.read_more().await;
        }
    }

    /// Reads a frame. It may be given up at any time.
    async fn read_more(&mut self) {
        let Some(open) = &mut self.body else { return };
        match open.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.messages.add(data);
                }
            }
            end => (self.body, self.failed) = (None, end.is_some()),
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A message that is no control.
struct Unreadable;

/// The control in a message; none if it is empty, which changes nothing.
fn decode(message: Result<Bytes, Skipped>) -> Result<Option<Control>, Unreadable> {
    let message = message.map_err(|_| Unreadable)?;
    let TelemetryControl { control } = TelemetryControl::decode(message).map_err(|_| Unreadable)?;
    Ok(control.map(Control::from))
}

/// The number of permits that a control takes: by its length, and by the patterns and wildcards in force.
fn weight(length: usize, work: usize) -> u32 {
    u32::try_from(length.div_ceil(BYTES_OF_ONE).max(1) + work / WORK_OF_ONE).unwrap_or(u32::MAX)
}

impl From<telemetry_control::Control> for Control {
    fn from(control: telemetry_control::Control) -> Self {
        match control {
            telemetry_control::Control::Toggle(toggle) => Self::Toggle(toggle.enabled),
            telemetry_control::Control::Sampling(update) => {
                Self::Sampling { rate: update.sampling_rate, patterns: update.event_patterns }
            }
            telemetry_control::Control::Filter(filter) => {
                Self::Filter { allow: filter.allow, deny: filter.deny }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::Controls,
        event::frame::Prefix,
        hub::{Hub, Limits, WhenFull},
    };
    use http_body_util::Full;
    use std::{sync::Arc, time::Duration};

    #[tokio::test(start_paused = true)]
    async fn controls_beyond_the_rate_limit_are_delayed_and_none_is_lost() {
        const COUNT: u32 = 1_000;
        const EACH_SECOND: u32 = 10;
        let hub =
            Hub::new(Controls::default(), Limits { events: 1, bytes: 1, when_full: WhenFull::DropNewest });
        let subscription = Arc::new(hub.subscribe(""));
        // Every other one is invalid, and takes a permit as well.
        let prefix = |number| Prefix { compressed: number % 2 == 1, length: 0 };
        let body = (0..COUNT).flat_map(|number| prefix(number).to_bytes()).collect::<Vec<_>>();
        let start = Instant::now();
        let throttle = Throttle::per_second(EACH_SECOND, start.into_std());
        let mut reader = Reader::new(Full::new(Bytes::from(body)), subscription.pattern_limits(), throttle);
        reader.apply_all(Arc::downgrade(&subscription)).await;
        // The burst of ten is immediate, and so is the first of the others.
        let expected = Duration::from_secs(1) * (COUNT - EACH_SECOND - 1) / EACH_SECOND;
        assert!((expected..expected + Duration::from_millis(2)).contains(&start.elapsed()));
        assert_eq!(hub.snapshot().subscribers[0].stats.controls_refused, u64::from(COUNT) / 2);
    }

    #[test]
    fn a_control_counts_by_its_length_and_by_the_patterns_in_force() {
        let weights =
            [(0, 0), (1024, 63), (1025, 64), (66_000, 2_560)].map(|(length, work)| weight(length, work));
        assert_eq!(weights, [1, 1, 3, 65 + 40]);
    }
}
