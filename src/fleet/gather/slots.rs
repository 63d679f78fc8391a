//! The slots: the number of a worker on the page, `worker="0"`, `worker="1"` and so on.
//!
//! A worker gets the lowest free slot. What it has counted stays in its slot when it ends, and the next
//! worker there adds to it. So there are never more slots than workers at a time, no counter falls, and a
//! rate is right when one worker follows another.

use super::{
    family::{Base, Family, Value},
    names::Names,
};
use crate::{
    event::ended::{is_failed_code, is_failed_signal},
    exporter::number::Number,
    fleet::discover::Sidecar,
};
use std::{collections::BTreeSet, net::SocketAddr};

/// How much memory pages and counters of ended workers may use together, about, in bytes. 200 workers of
/// 1,000 series have a tenth of it.
const MAX_BYTES: usize = 512 * 1024 * 1024;

/// The gauge that says how the worker has ended.
const EXIT_STATUS: &str = "telemetry_sidecar_worker_exit_status";

/// A slot.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) base: Base,
    pub(super) worker: Option<Worker>,
}

/// A worker that has a slot.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) sidecar: Sidecar,
    /// Where its sidecar serves its page, as the sidecar says it.
    pub(super) published: SocketAddr,
    /// Its last page, by the names of families; none before the first.
    pub(super) page: Vec<Family>,
    /// Why the page is not current.
    pub(super) late: Option<String>,
    /// The latest request for its page that was followed.
    pub(super) fetched: u64,
    /// The families that are left out because their names mean something else or there are too many.
    pub(super) refused: BTreeSet<String>,
    bytes: usize,
}

/// How workers have ended, by the exit status of their last page.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ended {
    pub(super) ok: u64,
    pub(super) failed: u64,
    /// The last page was of a worker that was running.
    pub(super) unknown: u64,
}

/// How a worker has ended, as far as its last page says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// In words such as `exit 3` and `signal 9`.
    Failed(String),
    Unknown,
}

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) all: Vec<Slot>,
    pub(super) names: Names,
    pub(super) ended: Ended,
    /// Series that were left out, because of the limits or because their names mean something else.
    pub(super) refused: u64,
}

impl Slots {
    /// Gives a worker the lowest free slot.
    pub(super) fn begin(&mut self, sidecar: Sidecar, published: SocketAddr) -> usize {
        let (page, refused) = Default::default();
        let worker = Worker { sidecar, published, page, late: None, fetched: 0, refused, bytes: 0 };
        let free = self.all.iter().position(|slot| slot.worker.is_none());
        let number = free.unwrap_or(self.all.len());
        if free.is_none() {
            self.all.push(Slot::default());
        }
        if let Some(slot) = self.all.get_mut(number) {
            slot.worker = Some(worker);
        }
        number
    }

    /// The worker in a slot.
    pub(super) fn worker(&mut self, slot: usize) -> Option<&mut Worker> {
        self.all.get_mut(slot)?.worker.as_mut()
    }

    /// The workers with the numbers of their slots.
    pub(super) fn workers(&self) -> impl Iterator<Item = (usize, &Worker)> {
        let slots = self.all.iter().enumerate();
        slots.filter_map(|(number, slot)| Some((number, slot.worker.as_ref()?)))
    }

    /// Replaces a worker's page.
    ///
    /// # Errors
    ///
    /// If there is no room for it. Then the old one stays.
    pub(super) fn update(&mut self, slot: usize, mut page: Vec<Family>) -> Result<(), String> {
        let others = self.bytes() - self.worker(slot).map_or(0, |worker| worker.bytes);
        let bytes = page.iter().flat_map(|family| &family.series).map(super::family::Series::bytes).sum();
        if others.saturating_add(bytes) > MAX_BYTES {
            return Err(format!("all pages together need more than {} MiB", MAX_BYTES >> 20));
        }
        let mut left_out = BTreeSet::new();
        let before = self.worker(slot).map(|worker| std::mem::take(&mut worker.refused)).unwrap_or_default();
        page.retain(|family| {
            let is_known = self.names.learn(family);
            if !is_known {
                // Each is counted once, however often the page is fetched.
                let is_new = !before.contains(&family.name);
                self.refused += if is_new { family.series.len() as u64 } else { 0 };
                left_out.insert(family.name.clone());
            }
            is_known
        });
        page.sort_by(|one, other| one.name.cmp(&other.name));
        let Some(worker) = self.worker(slot) else { return Ok(()) };
        (worker.late, worker.bytes, worker.refused) = (None, bytes, left_out);
        let old = std::mem::replace(&mut worker.page, page);
        self.forget_unused(old.into_iter().map(|family| family.name));
        Ok(())
    }

    /// Frees those of these names that nothing on the page has any more.
    fn forget_unused(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            let has = |slot: &Slot| {
                slot.worker.as_ref().is_some_and(|worker| worker.family(&name).is_some())
                    || slot.base.has(&name)
            };
            if !self.all.iter().any(has) {
                self.names.forget(&name);
            }
        }
    }

    /// Frees the slot of a worker that has ended; what it has counted stays.
    pub(super) fn end(&mut self, slot: usize) -> Option<(Sidecar, Outcome)> {
        let room = MAX_BYTES.saturating_sub(self.bytes());
        let slot = self.all.get_mut(slot)?;
        let Worker { sidecar, page, .. } = slot.worker.take()?;
        let outcome = outcome(&page);
        *match outcome {
            Outcome::Ok => &mut self.ended.ok,
            Outcome::Failed(_) => &mut self.ended.failed,
            Outcome::Unknown => &mut self.ended.unknown,
        } += 1;
        let max_bytes = slot.base.bytes() + room;
        let names: Vec<_> = page.iter().map(|family| family.name.clone()).collect();
        self.refused += slot.base.add(page, max_bytes);
        self.forget_unused(names.into_iter());
        Some((sidecar, outcome))
    }

    fn bytes(&self) -> usize {
        let bytes = |slot: &Slot| slot.base.bytes() + slot.worker.as_ref().map_or(0, |worker| worker.bytes);
        self.all.iter().map(bytes).sum()
    }
}

impl Worker {
    /// A family of its page.
    pub(super) fn family(&self, name: &str) -> Option<&Family> {
        find(&self.page, name)
    }
}

fn find<'a>(page: &'a [Family], name: &str) -> Option<&'a Family> {
    let at = page.binary_search_by(|family| family.name.as_str().cmp(name)).ok()?;
    page.get(at)
}

fn outcome(page: &[Family]) -> Outcome {
    match exit_status(page) {
        None => Outcome::Unknown,
        Some(("code", code)) if is_failed_code(code) => Outcome::Failed(format!("exit {code}")),
        Some(("signal", signal)) if is_failed_signal(signal) => Outcome::Failed(format!("signal {signal}")),
        Some(_) => Outcome::Ok,
    }
}

/// Kind and number of the exit status on a page.
fn exit_status(page: &[Family]) -> Option<(&str, i64)> {
    let series = find(page, EXIT_STATUS)?.series.first()?;
    let kind = series.labels.strip_prefix("kind=\"")?.strip_suffix('"')?;
    match series.value {
        Value::Number(Number::Int(number)) => Some((kind, number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
