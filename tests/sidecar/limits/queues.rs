//! Subscribers that do not read: little memory for all of them together, and room for others.

use crate::support::{
    Sidecar,
    http2::{
        DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, dial, frame, stream_telemetry, write_frame,
    },
    line, memory_kib, wait_for,
};
use std::io::Write as _;

const SUBSCRIBERS: u32 = 8;

/// A framed control: `filter { allow: "keep*" }`.
const ALLOW_KEEP: &[u8] = &[0, 0, 0, 0, 9, 0x1A, 7, 0x0A, 5, b'k', b'e', b'e', b'p', b'*'];

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_that_do_not_read_hold_no_more_than_all_queues_may() {
    const PAIRS: usize = 600;
    let mut sidecar = Sidecar::wrap_echo(&["--total-queue-bytes", "8000000"]);
    let mut stalled = dial(sidecar.port());
    stalled.write_all(&PREFACE[..24]).unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE
    write_frame(&mut stalled, SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for id in (0..SUBSCRIBERS).map(|number| 2 * number + 1) {
        let request = frame(HEADERS, END_HEADERS, id, &stream_telemetry(&[]));
        let control = frame(DATA, END_STREAM, id, ALLOW_KEEP);
        stalled.write_all(&[request, control].concat()).unwrap();
    }
    let get = async || sidecar.status().await;
    wait_for("the subscriptions", get, |status| status.subscribers.len() == SUBSCRIBERS as usize).await;
    let before = memory_kib(&sidecar);
    // Of each pair a little more than half is kept, and most of that is the name.
    for number in 0..PAIRS {
        let kept = line(&format!("keep.{number}{}", "n".repeat(16_000)), 1, "");
        sidecar.write(kept + &line(&"m".repeat(15_000), 1, ""));
    }
    let get = async || sidecar.status().await;
    let is_read = |status: &crate::support::Status| status.stream.unwrap().events == 2 * PAIRS as u64;
    let status = wait_for("all events to be read", get, is_read).await;
    let held = memory_kib(&sidecar).saturating_sub(before) / 1024;
    let queued: u64 = status.subscribers.iter().map(|subscriber| subscriber.queued_bytes).sum();
    assert!((4_000_000..8_000_000).contains(&queued), "{queued}");
    assert!(held < 40, "{held} MiB");
    assert!(status.subscribers.iter().all(|subscriber| subscriber.dropped > 0), "{status:#?}");
    // There is room for a subscriber that reads.
    let mut reader = sidecar.subscribe().await;
    for number in 0..10 {
        sidecar.write(line("keep", number, ""));
        assert_eq!(reader.next().await.measurements.len(), 1);
    }
    drop((reader, stalled));
    sidecar.finish().expect_code(0);
}
