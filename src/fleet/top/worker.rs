//! The state of one worker, or of one recording.

use super::{
    observed::Observed,
    pace::Pace,
    recent::Recent,
    window::{Rates, Window},
};
use crate::{
    event::proto::sidecar::GetStatusResponse,
    exporter::digest::{Digest, Limits},
    fleet::ended::has_failed,
    status::account::{lost_events, lost_log_lines, malformed_lines, malformed_messages, total},
    terminal::number::counted,
};
use bytes::Bytes;
use std::time::{Duration, Instant, SystemTime};

/// Names of one worker. There may be hundreds of workers.
const LIMITS: Limits = Limits { operations: 64, measurements: 64 };

/// Identifies a worker or a recording.
pub(super) type Id = usize;

/// The description of a worker when it is found.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined {
    /// The process id of the worker, or of a sidecar without one.
    pub(super) pid: Option<u32>,
    /// Its command line, its address or its file, in one line.
    pub(super) name: String,
    pub(super) started: Option<SystemTime>,
    pub(super) is_recording: bool,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is being connected to.
    Connecting,
    /// Its events are received from now on, or read.
    Running,
    /// It cannot be connected to, or its stream has failed: in one line.
    Problem(String),
    /// It has ended, in this way.
    Ended(String),
}

/// A worker or a recording.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) id: Id,
    pub(super) joined: Joined,
    pub(super) state: State,
    pub(super) digest: Digest,
    pub(super) observed: Observed,
    /// All events since its start, and when they were counted. A recording's are those of the digest.
    counted: Option<(u64, Instant)>,
    pub(super) subscribers: usize,
    /// Events that a subscriber or an exporter did not get, and log lines that no collector has accepted.
    pub(super) lost: u64,
    /// Anything unusual about a running worker.
    pub(super) remark: Option<String>,
    /// How long it had run when it ended.
    pub(super) ran: Option<Duration>,
    /// The first and the last timestamp of a recording, in nanoseconds.
    pub(super) span: Option<(i64, i64)>,
    pub(super) window: Window,
    pub(super) rates: Rates,
    pub(super) recent: Recent<()>,
}

impl Worker {
    pub(super) fn new(id: Id, joined: Joined) -> Self {
        Self {
            id,
            joined,
            state: State::Connecting,
            digest: Digest::new(LIMITS),
            observed: Observed::default(),
            counted: None,
            subscribers: 0,
            lost: 0,
            remark: None,
            ran: None,
            span: None,
            window: Window::default(),
            rates: Rates::default(),
            recent: Recent::default(),
        }
    }

    pub(super) fn add_status(&mut self, status: &GetStatusResponse) {
        if let Some(worker) = status.worker.filter(|worker| worker.pid > 0) {
            self.joined.pid = Some(worker.pid);
        }
        let now = Instant::now();
        let seconds = self.counted.map_or(0.0, |(_, last)| (now - last).as_secs_f64());
        self.counted = Some((status.events, now));
        self.window.add(status.events, seconds);
        self.subscribers = status.subscribers.len();
        self.lost = total([lost_events(status), lost_log_lines(status)]);
        self.remark = remark(status);
    }

    pub(super) fn add_events(&mut self, frames: &Bytes) {
        self.digest.add_frames_unless(frames, |event| self.observed.takes(event));
        self.recent.add((), frames);
    }

    pub(super) fn end(&mut self, how: String) {
        if !self.has_ended() {
            self.ran = self.up();
            self.state = State::Ended(how);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Whether it has ended with a failure, or its recording says so.
    pub(super) fn has_failed(&self) -> bool {
        match &self.state {
            State::Ended(how) => self.observed.has_failed() || has_failed(how),
            _ => false,
        }
    }

    /// The number of events since its start.
    pub(super) fn events(&self) -> u64 {
        self.counted.map_or(0, |(count, _)| count).max(self.digest.events())
    }

    /// The number of operations that failed while it was looked at.
    pub(super) fn errors(&self) -> u64 {
        self.digest.errors()
    }

    /// How long it has run.
    pub(super) fn up(&self) -> Option<Duration> {
        let length = |(first, last): (i64, i64)| Duration::from_nanos(last.abs_diff(first));
        let running = || self.joined.started?.elapsed().ok();
        self.ran.or_else(|| self.span.map(length)).or_else(running)
    }

    /// Events each second: the mean of a recording.
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(super) fn rate(&self) -> Option<f64> {
        if !(self.joined.is_recording || self.state == State::Running) {
            return None;
        }
        match self.pace() {
            Pace::Mean(seconds) => Some(self.events() as f64 / seconds),
            Pace::Live => self.window.rate(),
            Pace::Unknown => None,
        }
    }

    /// What its events are counted over.
    pub(super) fn pace(&self) -> Pace {
        if !self.joined.is_recording {
            return Pace::Live;
        }
        Pace::over([self.span])
    }

    /// Why nothing is known of a sidecar, as a message.
    pub(super) fn unreached(&self) -> Option<String> {
        if self.joined.is_recording || self.counted.is_some() {
            return None;
        }
        let name = match self.joined.pid {
            Some(pid) => format!("{pid} {}", self.joined.name),
            None => self.joined.name.clone(),
        };
        match &self.state {
            State::Connecting => Some(format!("{name}: does not answer")),
            State::Problem(text) => Some(format!("{name}: {text}")),
            State::Running | State::Ended(_) => None,
        }
    }

    /// The latest size of its memory, in bytes.
    pub(super) fn rss_bytes(&self) -> Option<f64> {
        self.observed.rss_bytes.or_else(|| self.latest("python.memory.sampled", "rss_bytes"))
    }

    /// The latest load of its processor, in percent.
    pub(super) fn cpu_percent(&self) -> Option<f64> {
        self.observed.cpu_percent.or_else(|| self.latest("python.cpu.sampled", "cpu_percent"))
    }

    /// The latest value of a measurement.
    fn latest(&self, operation: &str, key: &str) -> Option<f64> {
        let measurements = &self.digest.operation(operation)?.measurements;
        Some(measurements.iter().find(|measurement| measurement.key == key)?.last)
    }

    pub(super) fn tick(&mut self, seconds: f64) {
        self.rates.tick(&self.digest, seconds);
    }
}

/// Anything unusual about a sidecar that answers: malformed lines, or a replay that has not begun.
fn remark(status: &GetStatusResponse) -> Option<String> {
    for (malformed, what) in
        [(malformed_lines(status), "malformed line"), (malformed_messages(status), "malformed message")]
    {
        if malformed > 0 {
            return Some(counted(malformed, what));
        }
    }
    match status.subscribers.len() {
        _ if status.awaited_subscribers == 0 => None,
        0 => Some("waits for a subscriber".into()),
        _ => Some("waits for more subscribers".into()),
    }
}
