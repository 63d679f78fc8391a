//! The state of all workers. It changes by updates, and once a second by a tick.

use super::{
    pace::Pace,
    recent::Recent,
    window::{Rates, Window},
    worker::{Id, Joined, State, Worker},
};
use crate::{
    event::proto::sidecar::GetStatusResponse,
    exporter::digest::{Digest, Limits},
    observer::names::is_observed,
    status::account::total,
};
use bytes::Bytes;

/// Of workers that have ended as many are kept, the latest.
const ENDED_WORKERS: usize = 100;

/// Something that has happened.
#[derive(Debug)]
pub(super) enum Update {
    Joined(Id, Joined),
    /// It runs another program now.
    Named(Id, String),
    Status(Id, Box<GetStatusResponse>),
    /// Its events come from now on.
    Begun(Id),
    /// Whole gRPC frames.
    Events(Id, Bytes),
    /// The first and the last timestamp of a recording so far.
    Span(Id, (i64, i64)),
    Problem(Id, String),
    Ended(Id, String),
    /// A scan has ended, with a sentence about sidecars that are left out.
    Scanned(Option<String>),
}

/// All workers.
#[derive(Debug, Clone)]
pub(super) struct Model {
    /// In the order of their ids.
    pub(super) workers: Vec<Worker>,
    pub(super) digest: Digest,
    pub(super) rates: Rates,
    pub(super) window: Window,
    pub(super) recent: Recent<Id>,
    pub(super) left_out: Option<String>,
    /// Events of workers that are not kept any more.
    forgotten: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            workers: Vec::new(),
            digest: Digest::new(Limits::default()),
            rates: Rates::default(),
            window: Window::default(),
            recent: Recent::default(),
            left_out: None,
            forgotten: 0,
        }
    }

    pub(super) fn worker(&self, id: Id) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.id == id)
    }

    fn change(&mut self, id: Id, change: impl FnOnce(&mut Worker)) {
        if let Ok(at) = self.workers.binary_search_by_key(&id, |worker| worker.id)
            && let Some(worker) = self.workers.get_mut(at)
        {
            change(worker);
        }
    }

    pub(super) fn apply(&mut self, update: Update) {
        match update {
            Update::Joined(id, joined) => {
                let at = self.workers.partition_point(|worker| worker.id < id);
                self.workers.insert(at, Worker::new(id, joined));
            }
            Update::Named(id, name) => self.change(id, |worker| worker.joined.name = name),
            Update::Status(id, status) => self.change(id, |worker| worker.add_status(&status)),
            Update::Begun(id) => self.change(id, |worker| worker.state = State::Running),
            Update::Events(id, frames) => {
                self.digest.add_frames_unless(&frames, |event| is_observed(event.name()));
                self.recent.add(id, &frames);
                self.change(id, |worker| worker.add_events(&frames));
            }
            Update::Span(id, span) => self.change(id, |worker| worker.span = Some(span)),
            Update::Problem(id, text) => self.change(id, |worker| {
                if !worker.has_ended() {
                    worker.state = State::Problem(text);
                }
            }),
            Update::Ended(id, how) => {
                self.change(id, |worker| worker.end(how));
                self.forget();
            }
            Update::Scanned(left_out) => self.left_out = left_out,
        }
    }

    fn forget(&mut self) {
        let ended = self.workers.iter().filter(|worker| worker.has_ended()).count();
        if ended <= ENDED_WORKERS {
            return;
        }
        // Failures are what is looked for.
        let without_failure = |worker: &Worker| worker.has_ended() && !worker.has_failed();
        let oldest = self.workers.iter().position(without_failure);
        if let Some(oldest) = oldest.or_else(|| self.workers.iter().position(Worker::has_ended)) {
            self.forgotten += self.workers.remove(oldest).events();
        }
    }

    /// Called once in this many seconds.
    pub(super) fn tick(&mut self, seconds: f64) {
        self.workers.iter_mut().for_each(|worker| worker.tick(seconds));
        self.rates.tick(&self.digest, seconds);
        if let Some(rate) = self.rate() {
            self.window.add_rate(rate);
        }
    }

    /// The workers that have not ended.
    pub(super) fn running(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.has_ended())
    }

    /// The events of all workers that run each second, or the mean of the recordings, if known. Beside
    /// workers a recording does not count: its events came at other times.
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(super) fn rate(&self) -> Option<f64> {
        if let Pace::Mean(seconds) = self.pace() {
            return Some(self.events() as f64 / seconds);
        }
        let rates = self.running().filter(|worker| !worker.joined.is_recording).filter_map(Worker::rate);
        rates.reduce(|sum, rate| sum + rate)
    }

    /// The number of workers that have failed, by what is known of their ends.
    pub(super) fn failed(&self) -> usize {
        self.workers.iter().filter(|worker| worker.has_failed()).count()
    }

    /// The events of all workers since their start.
    pub(super) fn events(&self) -> u64 {
        total(self.workers.iter().map(Worker::events).chain([self.forgotten]))
    }

    pub(super) fn errors(&self) -> u64 {
        self.digest.errors()
    }

    pub(super) fn lost(&self) -> u64 {
        total(self.workers.iter().map(|worker| worker.lost))
    }

    /// What the events of all are counted over: nothing that makes a rate, if one is a recording of unknown
    /// length or beside workers.
    pub(super) fn pace(&self) -> Pace {
        let recordings = || self.workers.iter().filter(|worker| worker.joined.is_recording);
        match recordings().count() {
            0 => Pace::Live,
            count if count < self.workers.len() => Pace::Unknown,
            _ => Pace::over(recordings().filter(|one| one.events() > 0).map(|one| one.span)),
        }
    }
}
