//! A subscriber's side of the stream: gRPC messages with controls in them.
//!
//! A message that cannot be read is refused and changes nothing, not even that the next one is read: its length is known
//! whether it is compressed, too long or no protobuf at all. tonic's reader would end with the first of these.
//!
//! Controls that come faster than they are applied wait. To refuse them would lose what the client wants, of which it
//! would not be told: the last control is the one that counts. They are read all the same, into a buffer, until it is
//! full, and then HTTP/2's flow control holds the client back. Left unread they would be many frames of a few bytes, for
//! which h2 ends the connection long before a window is used up.

use crate::grpc::rate_limit::Throttle;
use crate::{
    control::Control,
    event::{
        batch::FRAME_PREFIX_BYTES,
        proto::bridge::{TelemetryControl, telemetry_control},
    },
    hub::Subscription,
};
use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use prost::Message as _;
use std::{
    pin::{Pin, pin},
    sync::Weak,
};
use tokio::time::{Instant, sleep};

/// How many bytes count as one control: compiling patterns takes time by their length.
const BYTES_OF_ONE: usize = 1024;

/// How many patterns and wildcards in force count as one more: after a control all of them may have to be tried for
/// names that were known before.
const WORK_OF_ONE: usize = 64;

/// About how many bytes of controls may wait, if none is longer: what a client may send to begin with, before it knows of
/// a smaller window (RFC 9113, section 6.9.2).
const MAX_WAITING_BYTES: usize = 64 * 1024;

/// Applies controls until the client closes its side, which does not end the stream.
pub async fn read(
    body: impl HttpBody<Data = Bytes>,
    subscription: Weak<Subscription>,
    mut throttle: Throttle,
) {
    let mut body = Some(pin!(body));
    let Some(limits) = subscription.upgrade().map(|subscription| subscription.pattern_limits()) else {
        return;
    };
    let mut messages = Messages::up_to(limits.control_bytes());
    loop {
        if let Some(length) = messages.next_length() {
            let Some(work) = subscription.upgrade().map(|subscription| subscription.pattern_work()) else {
                return;
            };
            let wait = throttle.take(weight(length, work), Instant::now().into_std());
            if !wait.is_zero() {
                let mut wait = pin!(sleep(wait));
                tokio::select! {
                    () = &mut wait => {}
                    () = fill(&mut body, &mut messages) => wait.await,
                }
            }
            let (Some(subscription), Some(message)) = (subscription.upgrade(), messages.next()) else {
                return;
            };
            apply(&subscription, message);
        } else if body.is_some() {
            read_more(&mut body, &mut messages).await;
        } else {
            return;
        }
    }
}

/// Reads as long as there is room.
async fn fill<B: HttpBody<Data = Bytes>>(body: &mut Option<Pin<&mut B>>, messages: &mut Messages) {
    while body.is_some() && messages.has_room() {
        read_more(body, messages).await;
    }
}

/// Reads a frame. It may be given up at any time.
async fn read_more<B: HttpBody<Data = Bytes>>(body: &mut Option<Pin<&mut B>>, messages: &mut Messages) {
    let Some(open) = body else { return };
    match open.frame().await {
        Some(Ok(frame)) => {
            if let Ok(data) = frame.into_data() {
                messages.add(data);
            }
        }
        Some(Err(_)) | None => *body = None,
    }
}

fn apply(subscription: &Subscription, message: Result<Bytes, Unreadable>) {
    match message.map(TelemetryControl::decode) {
        Ok(Ok(TelemetryControl { control: Some(control) })) => subscription.control(control.into()),
        // An empty one asks for nothing.
        Ok(Ok(TelemetryControl { control: None })) => {}
        Ok(Err(_)) | Err(Unreadable) => subscription.refuse_control(),
    }
}

/// As how many a control of so many bytes counts, with so much to try in force.
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

/// A message that is compressed, which was not agreed on, or too long.
#[derive(Debug, PartialEq, Eq)]
struct Unreadable;

/// Length-prefixed messages out of any chunks: a byte that says whether it is compressed, four with the length,
/// big-endian, and the message.
#[derive(Debug)]
struct Messages {
    /// The longest that is read, in bytes.
    longest: usize,
    unread: BytesMut,
    /// What is still to come of a message that is not read.
    skip: usize,
}

impl Messages {
    fn up_to(longest: usize) -> Self {
        Self { longest, unread: BytesMut::new(), skip: 0 }
    }

    /// Whether more may be added. There is room for the next message, whatever its length.
    fn has_room(&self) -> bool {
        let next = self.unread.first_chunk().map_or(0, |prefix| match self.length(*prefix) {
            (length, Ok(())) => length,
            (_, Err(Unreadable)) => 0,
        });
        self.unread.len() < MAX_WAITING_BYTES.max(FRAME_PREFIX_BYTES + next)
    }

    /// It is copied, so that what it was part of can go.
    fn add(&mut self, mut data: Bytes) {
        let skipped = self.skip.min(data.len());
        data.advance(skipped);
        self.skip -= skipped;
        self.unread.put(data);
    }

    /// How many bytes the next message has if it is whole; 0 if it cannot be read.
    fn next_length(&self) -> Option<usize> {
        let (prefix, rest) = self.unread.split_first_chunk::<FRAME_PREFIX_BYTES>()?;
        match self.length(*prefix) {
            (_, Err(Unreadable)) => Some(0),
            (length, Ok(())) => (rest.len() >= length).then_some(length),
        }
    }

    /// The next whole message.
    fn next(&mut self) -> Option<Result<Bytes, Unreadable>> {
        let (prefix, rest) = self.unread.split_first_chunk::<FRAME_PREFIX_BYTES>()?;
        let (length, readable) = self.length(*prefix);
        let here = length.min(rest.len());
        if readable.is_ok() && here < length {
            return None;
        }
        self.unread.advance(FRAME_PREFIX_BYTES);
        let message = if readable.is_ok() {
            Ok(self.unread.split_to(length).freeze())
        } else {
            self.unread.advance(here);
            self.skip = length - here;
            Err(Unreadable)
        };
        if self.unread.is_empty() {
            // A long one does not keep its place.
            self.unread = BytesMut::new();
        }
        Some(message)
    }

    /// What a message's prefix says.
    fn length(&self, [compressed, length @ ..]: [u8; FRAME_PREFIX_BYTES]) -> (usize, Result<(), Unreadable>) {
        let length = u32::from_be_bytes(length) as usize;
        (length, if compressed != 0 || length > self.longest { Err(Unreadable) } else { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::Controls,
        hub::{Hub, Limits, WhenFull},
    };
    use http_body_util::Full;
    use std::{sync::Arc, time::Duration};

    fn message(compressed: u8, length: usize) -> Vec<u8> {
        let prefix = u32::try_from(length).unwrap().to_be_bytes();
        [&[compressed][..], &prefix, &vec![b'x'; length]].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn controls_beyond_those_of_a_second_wait_for_their_turn_and_none_is_lost() {
        const COUNT: u32 = 1_000;
        const EACH_SECOND: u32 = 10;
        let hub =
            Hub::new(Controls::default(), Limits { events: 1, bytes: 1, when_full: WhenFull::DropNewest });
        let subscription = Arc::new(hub.subscribe(""));
        // Every other one cannot be read, which takes its turn as well.
        let body = (0..COUNT).flat_map(|number| message(u8::from(number % 2 == 1), 0)).collect::<Vec<_>>();
        let start = Instant::now();
        let throttle = Throttle::per_second(EACH_SECOND, start.into_std());
        read(Full::new(Bytes::from(body)), Arc::downgrade(&subscription), throttle).await;
        // Ten at once, and one more to begin with.
        let expected = Duration::from_secs(1) * (COUNT - EACH_SECOND - 1) / EACH_SECOND;
        assert!((expected..expected + Duration::from_millis(2)).contains(&start.elapsed()));
        assert_eq!(hub.snapshot().subscribers[0].stats.controls_refused, u64::from(COUNT) / 2);
    }

    #[test]
    fn messages_come_out_whole_whatever_the_chunks_and_unreadable_ones_are_skipped() {
        let parts = [
            message(0, 3),
            message(1, 5),
            message(0, 0),
            message(0, 70_001),
            message(0, 70_000),
            message(0, 1),
        ];
        let expected = [Ok(3), Err(Unreadable), Ok(0), Err(Unreadable), Ok(70_000), Ok(1)];
        let stream = parts.concat();
        for size in [1, 7, 16_384, stream.len()] {
            let mut messages = Messages::up_to(70_000);
            let mut got = Vec::new();
            for chunk in stream.chunks(size) {
                assert!(messages.has_room());
                messages.add(Bytes::copy_from_slice(chunk));
                while let Some(length) = messages.next_length() {
                    let message = messages.next().unwrap().map(|message| message.len());
                    assert_eq!(message.as_ref().copied().unwrap_or(0), length);
                    got.push(message);
                }
                assert!(messages.next().is_none());
                // What is not read is not kept.
                assert!(messages.unread.len() <= 70_000 + FRAME_PREFIX_BYTES + size);
            }
            assert_eq!(got, expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_control_counts_by_its_length_and_by_the_patterns_in_force() {
        let weights =
            [(0, 0), (1024, 63), (1025, 64), (66_000, 2_560)].map(|(length, work)| weight(length, work));
        assert_eq!(weights, [1, 1, 3, 65 + 40]);
    }
}
