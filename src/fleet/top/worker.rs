//! The state of one worker, or of one recording.

use super::{recent::Recent, window::Window};
use crate::{
    event::proto::sidecar::GetStatusResponse,
    exporter::digest::{Digest, Limits, Operation},
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

/// What events are counted over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// The last seconds.
    Live,
    /// The mean over a recording of this many seconds, more than 0.
    Mean(f64),
    /// A recording that does not say when its events came.
    Unknown,
}

impl Pace {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Live, Self::Live) => Self::Live,
            (Self::Mean(one), Self::Mean(other)) => Self::Mean(one + other),
            _ => Self::Unknown,
        }
    }
}

/// A worker or a recording.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) id: Id,
    pub(super) joined: Joined,
    pub(super) state: State,
    pub(super) digest: Digest,
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
        self.digest.add_frames(frames);
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
        let seconds = |(first, last): (i64, i64)| Duration::from_nanos(last.abs_diff(first)).as_secs_f64();
        self.span.map(seconds).filter(|seconds| *seconds > 0.0).map_or(Pace::Unknown, Pace::Mean)
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

    /// The latest value of a measurement of the worker's process.
    pub(super) fn vital(&self, sampled: &str, key: &str) -> Option<f64> {
        ["worker", "python"].iter().find_map(|prefix| {
            let operation = self.digest.operation(&format!("{prefix}.{sampled}"))?;
            Some(operation.measurements.iter().find(|measurement| measurement.key == key)?.last)
        })
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

/// The rates of a digest's operations.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    /// In the order of the operations, which a digest only adds to.
    windows: Vec<Window>,
}

impl Rates {
    pub(super) fn tick(&mut self, digest: &Digest, seconds: f64) {
        let is_first = self.windows.is_empty();
        for (at, operation) in digest.operations().iter().enumerate() {
            if self.windows.len() <= at {
                let mut window = Window::default();
                // An operation that was not there before has started at 0.
                if !is_first {
                    window.add(0, seconds);
                }
                self.windows.push(window);
            }
            if let Some(window) = self.windows.get_mut(at) {
                window.add(operation.count(), seconds);
            }
        }
    }

    /// The rate of an operation of this digest.
    pub(super) fn of(&self, digest: &Digest, operation: &Operation) -> Option<f64> {
        let at = digest.operations().iter().position(|known| std::ptr::eq(known, operation))?;
        self.windows.get(at)?.rate()
    }
}
