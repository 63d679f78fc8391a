//! Follows sidecars: those that repeated scans find, or those at given addresses.

use super::{
    model::Update,
    stream,
    worker::{Id, Joined},
};
use crate::{
    event::proto::sidecar::GetStatusResponse,
    fleet::{
        client::{ClientError, Connection, Connector},
        discover::{self, Sidecar},
    },
    net::address::Address,
    system::visible::one_line,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep},
};

/// The interval between scans for new sidecars, and between attempts to reconnect to a given address.
const INTERVAL: Duration = Duration::from_secs(1);

/// A look at all processes may take this part of the time.
const MAX_SHARE: u32 = 20;

/// How long after a failure a sidecar is connected to again.
const RETRY: Duration = Duration::from_secs(2);

/// Start times are not exact. A process id is not used again so soon.
const SAME_START: Duration = Duration::from_secs(2);

/// The end of a worker that nothing is known of.
const UNKNOWN_END: &str = "ended";

/// What all tasks share.
#[derive(Clone)]
pub(super) struct Follower {
    connector: Arc<Connector>,
    updates: mpsc::Sender<Update>,
    ids: Arc<AtomicUsize>,
    /// How often counters are asked for.
    sample: Duration,
}

impl Follower {
    pub(super) fn new(connector: Connector, updates: mpsc::Sender<Update>, sample: Duration) -> Self {
        Self { connector: Arc::new(connector), updates, ids: Arc::default(), sample }
    }

    pub(super) fn next_id(&self) -> Id {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends an update. This fails while the program ends.
    async fn send(&self, update: Update) {
        let _ = self.updates.send(update).await;
    }

    /// Follows every sidecar of this host.
    pub(super) async fn follow_all(self) {
        let mut known: HashMap<u32, Followed> = HashMap::new();
        loop {
            let start = Instant::now();
            let found = match spawn_blocking(discover::sidecars).await {
                Ok(Ok(found)) => found,
                // It is tried again.
                _ => discover::Found::default(),
            };
            known.retain(|pid, followed| {
                let is_there = discover::is_running(*pid);
                if !is_there && !followed.task.is_finished() && followed.gone {
                    followed.task.abort();
                }
                let keep = is_there || !followed.task.is_finished();
                followed.gone = !is_there;
                keep
            });
            let left_out = found.left_out();
            for sidecar in found.sidecars {
                let known_one = known.get_mut(&sidecar.pid).filter(|known| known.is(&sidecar));
                if let Some(known) = known_one {
                    // A shell has executed the worker, or a replay reads another file.
                    if sidecar.worker.is_some() && known.command != sidecar.command {
                        self.send(Update::Named(known.id, sidecar.short_command())).await;
                        known.command = sidecar.command;
                    }
                } else {
                    let (pid, started, command) = (sidecar.pid, sidecar.started, sidecar.command.clone());
                    let id = self.next_id();
                    // Before all is said to be found.
                    self.send(Update::Joined(id, joined(&sidecar))).await;
                    let task = tokio::spawn(self.clone().follow_joined(id, sidecar));
                    known.insert(pid, Followed { id, started, command, task, gone: false });
                }
            }
            self.send(Update::Scanned(left_out)).await;
            sleep(INTERVAL.max(start.elapsed() * MAX_SHARE)).await;
        }
    }

    /// Follows a sidecar that was found until its process has ended.
    pub(super) async fn follow_found(self, sidecar: Sidecar) {
        let id = self.next_id();
        self.send(Update::Joined(id, joined(&sidecar))).await;
        self.follow_joined(id, sidecar).await;
    }

    /// Follows a sidecar that has joined until its process has ended.
    async fn follow_joined(self, id: Id, sidecar: Sidecar) {
        let end = EndOfTask { id, updates: self.updates.clone() };
        loop {
            let watched = async {
                let (connection, status) = self.connector.found(&sidecar).await?;
                self.send(Update::Status(id, Box::new(status))).await;
                self.watch(id, &connection).await
            };
            match watched.await {
                Ok(how) => return self.send(Update::Ended(id, how)).await,
                Err(error) => self.send(Update::Problem(id, error.brief())).await,
            }
            if !discover::is_running(sidecar.pid) {
                break;
            }
            sleep(RETRY).await;
        }
        drop(end);
    }

    /// Follows the sidecars at an address, one after another.
    pub(super) async fn follow_address(self, address: Address) {
        let mut id = self.join(&address).await;
        // A sidecar whose worker has ended may still serve: it is followed only once.
        let mut followed = None;
        loop {
            let watched = async {
                let connection = self.connector.given(&address).await?;
                let status = connection.status().await?;
                Ok::<_, ClientError>((connection, status))
            };
            match watched.await {
                Ok((_, status)) if followed == Some(identity(&status)) => {}
                Ok((connection, status)) => {
                    let this = match id.take() {
                        Some(id) => id,
                        None => self.join(&address).await.unwrap_or_default(),
                    };
                    let identity = identity(&status);
                    self.send(Update::Status(this, Box::new(status))).await;
                    match self.watch(this, &connection).await {
                        Ok(how) => {
                            self.send(Update::Ended(this, how)).await;
                            followed = Some(identity);
                        }
                        Err(error) => {
                            self.send(Update::Problem(this, error.brief())).await;
                            id = Some(this);
                        }
                    }
                }
                Err(error) => {
                    if let Some(id) = id {
                        self.send(Update::Problem(id, error.explained().await.brief())).await;
                    }
                }
            }
            sleep(INTERVAL).await;
        }
    }

    async fn join(&self, address: &Address) -> Option<Id> {
        let id = self.next_id();
        let name = one_line(&address.to_string());
        self.send(Update::Joined(id, Joined { name, ..Joined::default() })).await;
        Some(id)
    }

    /// Receives events and counters until the worker has ended, and returns how that was.
    async fn watch(&self, id: Id, connection: &Connection) -> Result<String, ClientError> {
        let events = stream::receive(id, connection, &self.updates);
        let counters = async {
            loop {
                sleep(self.sample).await;
                // The stream reports a better error.
                if let Ok(status) = connection.status().await {
                    self.send(Update::Status(id, Box::new(status))).await;
                }
            }
        };
        tokio::select! {
            ended = events => Ok(ended?.map_or(UNKNOWN_END.into(), |exit| one_line(&exit))),
            () = counters => Ok(UNKNOWN_END.into()),
        }
    }
}

/// What two sidecars at the same address do not share: the process id and the start.
fn identity(status: &GetStatusResponse) -> (u32, u64) {
    (status.pid, status.start_time_unix_nano)
}

/// A sidecar that was found.
fn joined(sidecar: &Sidecar) -> Joined {
    Joined {
        pid: Some(sidecar.worker.unwrap_or(sidecar.pid)),
        name: sidecar.short_command(),
        started: Some(sidecar.started),
        is_recording: false,
    }
}

/// A sidecar that is followed.
struct Followed {
    id: Id,
    command: String,
    started: SystemTime,
    task: JoinHandle<()>,
    /// Whether its process was not there the last time.
    gone: bool,
}

impl Followed {
    fn is(&self, sidecar: &Sidecar) -> bool {
        let (earlier, later) = (self.started.min(sidecar.started), self.started.max(sidecar.started));
        later.duration_since(earlier).is_ok_and(|difference| difference < SAME_START)
    }
}

/// Reports the end of a worker however the task that follows it ends.
struct EndOfTask {
    id: Id,
    updates: mpsc::Sender<Update>,
}

impl Drop for EndOfTask {
    fn drop(&mut self) {
        // A worker that has ended stays as it is. If there is no room now, others have more to say.
        let _ = self.updates.try_send(Update::Ended(self.id, UNKNOWN_END.into()));
    }
}
