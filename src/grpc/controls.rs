//! A subscriber's side of the stream: gRPC messages with controls in them.
//!
//! A message that cannot be read is refused and changes nothing, not even that the next one is read: its length is known
//! whether it is compressed, too long or no protobuf at all. tonic's reader would end with the first of these.
//!
//! Controls that come faster than they are applied are not read before their time, so that HTTP/2's flow control holds
//! the client back. To refuse them would lose what the client wants, of which it would not be told: the last control is
//! the one that counts.

use super::throttle::Throttle;
use crate::{
    batch::FRAME_PREFIX_BYTES,
    control::Control,
    hub::Subscription,
    proto::bridge::{TelemetryControl, telemetry_control},
};
use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use prost::Message as _;
use std::sync::Weak;
use tokio::time::{Instant, sleep};

/// The longest control that is read, in bytes: what gRPC libraries take by default.
const MAX_CONTROL_BYTES: usize = 4 * 1024 * 1024;

/// How many bytes count as one control. Applying one takes time by its patterns, under the lock that the worker's
/// events go through: a control with a thousand of them is worth many short ones.
const BYTES_OF_ONE: usize = 1024;

/// Applies controls until the client closes its side, which does not end the stream.
pub async fn read(
    body: impl HttpBody<Data = Bytes>,
    subscription: Weak<Subscription>,
    mut throttle: Throttle,
) {
    let mut body = std::pin::pin!(body);
    let mut messages = Messages::default();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        messages.add(data);
        while let Some(message) = messages.next() {
            let wait = throttle.take(weight(&message), Instant::now().into_std());
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let Some(subscription) = subscription.upgrade() else { return };
            match message.map(TelemetryControl::decode) {
                Ok(Ok(TelemetryControl { control: Some(control) })) => subscription.control(control.into()),
                // An empty one asks for nothing.
                Ok(Ok(TelemetryControl { control: None })) => {}
                Ok(Err(_)) | Err(Unreadable) => subscription.refuse_control(),
            }
        }
    }
}

/// How many controls it counts as.
fn weight(message: &Result<Bytes, Unreadable>) -> u32 {
    let bytes = message.as_ref().map_or(0, Bytes::len);
    u32::try_from(bytes.div_ceil(BYTES_OF_ONE).max(1)).unwrap_or(u32::MAX)
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
#[derive(Debug, Default)]
struct Messages {
    unread: BytesMut,
    /// What is still to come of a message that is not read.
    skip: usize,
}

impl Messages {
    fn add(&mut self, mut data: Bytes) {
        let skipped = self.skip.min(data.len());
        data.advance(skipped);
        self.skip -= skipped;
        self.unread.put(data);
    }

    /// The next whole message.
    fn next(&mut self) -> Option<Result<Bytes, Unreadable>> {
        let (prefix, rest) = self.unread.split_first_chunk::<FRAME_PREFIX_BYTES>()?;
        let [compressed, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if compressed != 0 || length > MAX_CONTROL_BYTES {
            let here = length.min(rest.len());
            self.skip = length - here;
            self.unread.advance(FRAME_PREFIX_BYTES + here);
            return Some(Err(Unreadable));
        }
        if rest.len() < length {
            return None;
        }
        self.unread.advance(FRAME_PREFIX_BYTES);
        Some(Ok(self.unread.split_to(length).freeze()))
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
            message(0, MAX_CONTROL_BYTES + 1),
            message(0, 70_000),
        ];
        let expected = [Ok(3), Err(Unreadable), Ok(0), Err(Unreadable), Ok(70_000)];
        let stream = parts.concat();
        for size in [1, 7, 16_384, stream.len()] {
            let mut messages = Messages::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(size) {
                messages.add(Bytes::copy_from_slice(chunk));
                while let Some(message) = messages.next() {
                    got.push(message.map(|message| message.len()));
                }
                // What is not read is not kept.
                assert!(messages.unread.len() <= 70_000 + FRAME_PREFIX_BYTES + size);
            }
            assert_eq!(got, expected, "chunks of {size}");
        }
    }
}
