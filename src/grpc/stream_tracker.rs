//! The requests of one connection, which decide when and how it is closed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

/// Tracks the requests of one connection. Relaxed atomics are enough: the serving thread alone uses it, and
/// only hyper's bounds require `Sync`.
#[derive(Debug, Default)]
pub struct StreamTracker {
    open: AtomicUsize,
    /// Those of subscribers that are open or that the sidecar has ended, and not those of observers.
    subscribed: AtomicUsize,
    /// Cancelled when the sidecar has ended the last open stream with status OK.
    ended: CancellationToken,
    /// Whether the sidecar has ended a stream with an error.
    failed: AtomicBool,
    admitted: AtomicBool,
    relayed: AtomicBool,
    held: AtomicUsize,
}

/// How the sidecar has ended a stream.
#[derive(Debug, Clone, Copy)]
pub enum StreamEnd {
    Complete,
    Failed,
}

impl StreamTracker {
    /// Records that a request, of any kind, is authenticated and for something that is served.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// Whether a request was admitted.
    pub fn has_admitted(&self) -> bool {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Admits a request that the worker answers.
    pub fn relay(&self) {
        self.admit();
        self.relayed.store(true, Ordering::Relaxed);
    }

    /// Records a call that is left without an answer.
    pub fn hold(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// How many calls are left without an answer.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Records that a stream of events opens, for a subscriber or for an observer.
    pub fn open_stream(&self, is_observer: bool) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.subscribed.fetch_add(usize::from(!is_observer), Ordering::Relaxed);
    }

    /// Records that a stream of events is over; `end` is none if the client has ended it.
    pub fn close_stream(&self, is_observer: bool, end: Option<StreamEnd>) {
        if end.is_none() {
            self.subscribed.fetch_sub(usize::from(!is_observer), Ordering::Relaxed);
        }
        let was_last = self.open.fetch_sub(1, Ordering::Relaxed) == 1;
        match end {
            Some(StreamEnd::Complete) if was_last => self.ended.cancel(),
            Some(StreamEnd::Failed) => self.failed.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether a stream is open or was ended by the sidecar, so that the peer must be able to read its last
    /// events, or the worker's last answers.
    pub fn need_graceful_close(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
            || self.ended.is_cancelled()
            || self.failed.load(Ordering::Relaxed)
            || self.relayed.load(Ordering::Relaxed)
    }

    /// Whether no peer but observers has anything to read.
    pub fn only_observed(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed) == 0 && !self.relayed.load(Ordering::Relaxed)
    }

    /// Waits until the sidecar has ended the last open stream. After an error the client may try again.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_that_its_client_has_cancelled_is_not_waited_for() {
        let streams = StreamTracker::default();
        streams.open_stream(false);
        assert!(!streams.only_observed());
        streams.close_stream(false, None);
        streams.open_stream(true);
        assert!(streams.only_observed() && streams.need_graceful_close());
        streams.open_stream(false);
        streams.close_stream(false, Some(StreamEnd::Complete));
        streams.close_stream(true, Some(StreamEnd::Complete));
        assert!(!streams.only_observed() && streams.need_graceful_close());
    }
}
