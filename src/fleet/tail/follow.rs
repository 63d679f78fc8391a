//! Which sidecars are followed, and until when.

use super::{
    TailError, Wanted,
    label::label,
    printer::{Printer, Source},
    stream,
};
use crate::{
    fleet::{
        client::{ClientError, Connection, Connector},
        discover::{self, Sidecar},
        ended::{EXITED_WITH_0, how_ended},
        error::FleetError,
        target::{Target, of_process},
    },
    system::{log::error_line, value::Period},
    worker::{Exit, exit::FAILED},
};
use std::{collections::HashSet, io, ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::{
    task::{JoinError, JoinSet, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};

/// The interval between scans for sidecars: the shortest and the longest.
const LOOK_EVERY: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(2);

/// Scans take at most this fraction of the time, as its denominator: with more processes they take longer.
const LOOK_SHARE: u32 = 50;

/// The interval between attempts to connect while there is no sidecar.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// Follows sidecars.
pub(super) struct Tail {
    pub(super) printer: Printer,
    pub(super) connector: Connector,
    pub(super) wanted: Wanted,
    /// Until when sidecars that are not there yet are waited for, and how long that is.
    pub(super) wait: Option<(Instant, Period)>,
}

impl Tail {
    /// Follows the only sidecar.
    pub(super) async fn follow_one(&self, target: &Target) -> Result<Exit, TailError> {
        let source = self.printer.add(&target.to_string());
        let connection = self.connect(target).await?;
        let exit = self.follow(&connection, &source).await?;
        // Of the only stream the end is seen anyway.
        if let Some(exit) = exit.filter(|exit| exit != EXITED_WITH_0) {
            self.printer.report(&source, how_ended(&exit)).await;
        }
        Ok(Exit::Code(0))
    }

    /// Follows these until all streams have ended, and returns the highest exit code.
    pub(super) async fn follow_several(self: &Arc<Self>, targets: Vec<Target>) -> Exit {
        let mut streams = JoinSet::new();
        for target in targets {
            let source = self.printer.add(&target.to_string());
            let tail = Arc::clone(self);
            streams.spawn(async move {
                let followed = async {
                    let connection = tail.connect(&target).await?;
                    Ok(tail.follow(&connection, &source).await?)
                };
                let followed = followed.await;
                tail.report_end(&source, followed).await
            });
        }
        let mut code = 0;
        while let Some(ended) = streams.join_next().await {
            code = code.max(exit_code(ended));
        }
        Exit::Code(code)
    }

    /// Follows all sidecars of this host, and new ones until all have ended.
    pub(super) async fn follow_all(self: &Arc<Self>) -> Result<Exit, TailError> {
        let mut streams = JoinSet::new();
        let mut known = HashSet::new();
        let (mut code, mut any) = (0, false);
        loop {
            let started = Instant::now();
            // It reads many files.
            let found = spawn_blocking(discover::sidecars).await.map_err(io::Error::from);
            let found = found.flatten().map_err(FleetError::Find)?;
            let interval = (started.elapsed() * LOOK_SHARE).clamp(*LOOK_EVERY.start(), *LOOK_EVERY.end());
            let left_out = found.left_out();
            let new: Vec<_> = found.sidecars.iter().filter(|sidecar| !known.contains(&sidecar.pid)).collect();
            for sidecar in new.into_iter().cloned() {
                streams.spawn(Arc::clone(self).follow_found(sidecar));
            }
            // A process id may be given to another process.
            known = found.sidecars.iter().map(|sidecar| sidecar.pid).collect();
            if !any && !streams.is_empty() {
                any = true;
                left_out.iter().for_each(error_line);
            }
            if streams.is_empty() {
                if any {
                    return Ok(Exit::Code(code));
                }
                if self.wait.is_none_or(|(deadline, _)| Instant::now() >= deadline) {
                    return Err(self.none_found(left_out.as_deref()));
                }
                sleep(interval).await;
                continue;
            }
            let next_look = Instant::now() + interval;
            // The last one may have been replaced by another when it ended.
            while let Ok(Some(ended)) = timeout_at(next_look, streams.join_next()).await {
                code = code.max(exit_code(ended));
            }
        }
    }

    async fn follow_found(self: Arc<Self>, sidecar: Sidecar) -> i32 {
        let source = self.printer.add(&label(&sidecar));
        let followed = async {
            let (connection, _) = self.connector.found(&sidecar).await?;
            self.follow(&connection, &source).await
        };
        let mut followed = followed.await;
        if matches!(followed, Err(ClientError::Connect { .. })) && !discover::is_running(sidecar.pid) {
            // It has ended since it was found.
            followed = Ok(None);
        }
        self.report_end(&source, followed.map_err(TailError::from)).await
    }

    /// Prints the events of a sidecar until the stream ends.
    async fn follow(&self, connection: &Connection, source: &Source) -> Result<Option<String>, ClientError> {
        match stream::follow(connection, &self.wanted, source, &self.printer).await {
            Err(error) => Err(error.explained().await),
            ended => ended,
        }
    }

    /// Connects, with retries until the end of the wait.
    async fn connect(&self, target: &Target) -> Result<Connection, TailError> {
        let address = match target {
            Target::Address(address) => address,
            Target::Process(pid) => {
                let found = spawn_blocking(discover::sidecars).await.map_err(io::Error::from);
                let found = found.flatten().map_err(FleetError::Find)?;
                let sidecar = of_process(*pid, &found).map_err(TailError::NoProcess)?;
                return Ok(self.connector.found(sidecar).await?.0);
            }
        };
        let Some((deadline, wait)) = self.wait else { return Ok(self.connector.given(address).await?) };
        loop {
            let no_answer = ClientError::NoAnswer { address: address.clone() };
            match timeout_at(deadline, self.connector.given(address)).await.unwrap_or(Err(no_answer)) {
                Err(error) if Instant::now() + RETRY_EVERY > deadline => {
                    return Err(TailError::Absent(error, wait));
                }
                Err(error) if error.is_absent() => sleep(RETRY_EVERY).await,
                connected => return Ok(connected?),
            }
        }
    }

    /// The error if no sidecar was found.
    fn none_found(&self, left_out: Option<&str>) -> TailError {
        let how = match self.wait {
            Some((_, wait)) => format!(" within {wait}"),
            None => ", --wait DURATION waits for one".into(),
        };
        TailError::NoneFound(discover::none_found(&how, left_out))
    }

    /// Reports how a stream has ended, if there are several, and returns the exit code.
    async fn report_end(&self, source: &Source, ended: Result<Option<String>, TailError>) -> i32 {
        match ended {
            Ok(exit) if self.printer.has_several() => {
                let how = exit.as_deref().map_or_else(|| "the stream has ended".into(), how_ended);
                self.printer.report(source, how).await;
                0
            }
            Ok(_) => 0,
            Err(error) => {
                self.printer.report_error(source, &error).await;
                FAILED
            }
        }
    }
}

fn exit_code(ended: Result<i32, JoinError>) -> i32 {
    ended.unwrap_or(FAILED)
}
