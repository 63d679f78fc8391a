//! Starting and controlling the binary in tests, with details when an assertion fails.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

pub mod certificates;
mod clients;
pub mod dispositions;
pub mod http2;
mod processes;
pub mod refusal;

pub use clients::{Status, StatusClient, Subscriber, assert_balanced, connect};
pub use processes::{BINARY, Builder, Finished, Sidecar, memory_kib, run};

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The limit for any single wait. Normal waits are far shorter; the machine may be busy.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for an asynchronous value that satisfies a condition.
pub async fn wait_for<T: Debug>(
    what: &str,
    mut get: impl AsyncFnMut() -> T,
    condition: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let value = get().await;
        if condition(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}; last: {value:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A telemetry line with a name, a count and a correlation id.
pub fn line(event: &str, count: usize, correlation_id: &str) -> String {
    format!(
        "TELEMETRY:{{\"event\": \"{event}\", \"measurements\": {{\"count\": {count}}}, \"metadata\": {{}}, \
         \"timestamp_ns\": {count}, \"correlation_id\": \"{correlation_id}\"}}\n"
    )
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
