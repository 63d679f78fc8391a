//! Finds sidecars again and again, and follows each from its first page to its end.

use super::{
    Gatherer, Shared,
    ask::ask,
    family::Family,
    fetch::Fetcher,
    first::FirstWorkers,
    origin::Start,
    page::{Reason, description, pids},
    slots::Outcome,
};
use crate::{
    exporter::prometheus::server::Server,
    fleet::discover::{self, Sidecar},
    system::{
        log::{self, error_line},
        value::counted,
    },
};
use std::{
    collections::{HashMap, HashSet},
    io, mem,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How many sidecars are followed at a time.
const MAX_SIDECARS: usize = 4096;

/// What is printed about a worker whose last page has no exit status.
const UNKNOWN_END: &str = "ended, exit status unknown: the sidecar was killed, or ended before its last \
    page was read (give it --linger 5s)";

/// One process.
pub(super) type Id = (u32, u64);

pub(super) fn id(sidecar: &Sidecar) -> Id {
    (sidecar.pid, sidecar.start_ticks)
}

/// A sidecar that was found.
pub(super) struct Known {
    pub(super) sidecar: Sidecar,
    /// Cancelled when the process has ended.
    pub(super) ended: CancellationToken,
    pub(super) was_asked: bool,
    /// The question that it may not have answered yet.
    pub(super) asking: Option<JoinHandle<()>>,
}

impl Known {
    fn new(sidecar: Sidecar) -> Self {
        Self { sidecar, ended: CancellationToken::new(), was_asked: false, asking: None }
    }

    fn is_asked(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| !asking.is_finished())
    }
}

/// Follows the sidecars of this host for ever. After the first look it says that it serves at this address.
/// A later look that fails changes nothing, and the next one tries again.
///
/// # Errors
///
/// If `/proc` cannot be read at the first look.
pub(super) async fn follow(server: &Arc<Server<Gatherer>>, every: Duration, address: &str) -> io::Result<()> {
    let mut known: HashMap<Id, Known> = HashMap::new();
    let mut is_first = true;
    let mut first_workers = FirstWorkers::default();
    let mut has_failed = false;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let gatherer = &server.site;
        let found = match spawn_blocking(discover::sidecars).await.map_err(io::Error::other).flatten() {
            Ok(found) => found,
            Err(error) if is_first => return Err(error),
            Err(error) => {
                if !has_failed {
                    error_line(format_args!("cannot look for new sidecars, trying again: {error}"));
                }
                has_failed = true;
                gatherer.request();
                continue;
            }
        };
        has_failed = false;
        let mut running: HashSet<Id> = found.sidecars.iter().map(id).collect();
        known.retain(|id, Known { sidecar, ended, .. }| {
            // Without free descriptors a look finds less than there is.
            let is_running = running.contains(id) || !sidecar.has_ended();
            if is_running {
                running.insert(*id);
            } else {
                ended.cancel();
            }
            is_running
        });
        let is_unreachable = gatherer.lock().update(&found.sidecars, &running);
        let mut asked = Vec::new();
        for sidecar in found.sidecars.into_iter().take(MAX_SIDECARS) {
            let id = id(&sidecar);
            let is_new = !known.contains_key(&id);
            let one = known.entry(id).or_insert_with(|| Known::new(sidecar.clone()));
            one.sidecar = sidecar;
            if is_new || is_unreachable.contains(&id) && !one.is_asked() {
                asked.push(id);
            }
        }
        ask(server, &mut known, asked, is_first).await;
        let (count, counted) = gatherer.lock().counted();
        let have_come = first_workers.have_come(count);
        if mem::take(&mut is_first) {
            gatherer.say(format_args!("gathering at http://{address}/metrics: {counted}"));
        } else if have_come {
            gatherer.say(format_args!("gathering {counted}"));
        }
        gatherer.request();
    }
}

/// Fetches the pages of a worker until its sidecar has ended.
pub(super) async fn follow_one(
    server: Arc<Server<Gatherer>>,
    slot: usize,
    (address, started): (SocketAddr, Option<f64>),
    ended: CancellationToken,
) {
    let gatherer = &server.site;
    let mut wanted = gatherer.wanted.subscribe();
    let mut fetcher = Fetcher::new(address);
    let mut start = Start::new(started);
    loop {
        let request = *wanted.borrow_and_update();
        let (is_late, sidecar) = match gatherer.lock().slots.worker(slot) {
            Some(worker) => (worker.late.is_some(), worker.sidecar.clone()),
            None => return,
        };
        let permits = if is_late { &gatherer.late } else { &gatherer.prompt };
        // They are never closed.
        let permit = permits.acquire().await;
        let page = page(&mut fetcher, &sidecar, &mut start).await;
        drop(permit);
        if page.is_err() && sidecar.has_ended() {
            break;
        }
        gatherer.lock().fetched(slot, request, page);
        // This fails if there is no request waiting for pages.
        let _ = gatherer.fetched.send(());
        tokio::select! {
            biased;
            () = ended.cancelled() => break,
            _ = wanted.changed() => {}
        }
    }
    let Some((sidecar, outcome)) = gatherer.lock().slots.end(slot) else { return };
    let worker = format!("worker {slot}: {}", pids(&sidecar));
    let how = match outcome {
        Outcome::Ok => return tracing::info!("{worker} has ended"),
        Outcome::Failed(how) => how,
        Outcome::Unknown => UNKNOWN_END.to_owned(),
    };
    gatherer.say(format_args!("{worker} ({}): {how}", description(&sidecar)));
}

/// The current page of a sidecar.
async fn page(fetcher: &mut Fetcher, sidecar: &Sidecar, start: &mut Start) -> Result<Vec<Family>, String> {
    if sidecar.is_stopped() {
        return Err("it is stopped".into());
    }
    let page = fetcher.fetch().await.map_err(|error| error.to_string())?;
    if start.is_of(&page, sidecar) { Ok(page) } else { Err("another process has its port".into()) }
}

impl Shared {
    /// Updates the known sidecars after a scan. Returns those that could not be reached before.
    fn update(&mut self, sidecars: &[Sidecar], running: &HashSet<Id>) -> HashSet<Id> {
        let by_id: HashMap<Id, &Sidecar> = sidecars.iter().map(|sidecar| (id(sidecar), sidecar)).collect();
        for slot in &mut self.slots.all {
            if let Some(worker) = &mut slot.worker
                && let Some(sidecar) = by_id.get(&id(&worker.sidecar))
            {
                // It is needed to name the worker after its end.
                let worker_pid = sidecar.worker.or(worker.sidecar.worker);
                worker.sidecar = Sidecar { worker: worker_pid, ..(*sidecar).clone() };
            }
        }
        self.left_out.retain(|one| running.contains(&id(&one.sidecar)));
        let unreachable = self.left_out.iter().filter(|one| one.reason == Reason::Unreachable);
        unreachable.map(|one| id(&one.sidecar)).collect()
    }

    /// Gives a worker a slot, unless it has one: if it did not answer in time it was asked again.
    pub(super) fn begin(&mut self, sidecar: &Sidecar, published: SocketAddr) -> Option<usize> {
        self.left_out.retain(|one| id(&one.sidecar) != id(sidecar));
        let has_one = self.slots.workers().any(|(_, worker)| id(&worker.sidecar) == id(sidecar));
        (!has_one).then(|| self.slots.begin(sidecar.clone(), published))
    }

    /// How many workers there are, also as text, with those that are left out.
    fn counted(&self) -> (usize, String) {
        let count = self.slots.workers().count();
        let workers = counted(count as u64, "worker");
        let text = match self.left_out.len() {
            0 => workers,
            left_out => format!("{workers}, {left_out} without a page"),
        };
        (count, text)
    }

    /// Notes the answer to a request for a worker's page.
    fn fetched(&mut self, slot: usize, request: u64, page: Result<Vec<Family>, String>) {
        let updated = page.and_then(|page| self.slots.update(slot, page));
        let count = if updated.is_ok() { &mut self.fetches.ok } else { &mut self.fetches.failed };
        *count += 1;
        let Some(worker) = self.slots.worker(slot) else { return };
        worker.fetched = request;
        if let Err(cause) = updated {
            log::limited!(INFO, "worker {slot}: pid {}: {cause}", worker.sidecar.pid);
            worker.late = Some(cause);
        }
    }
}
