//! Asks sidecars where their pages are. Each answer is followed as it comes: a sidecar that does not answer
//! delays no other one.

use super::{
    Gatherer,
    follow::{Id, Known, follow_one, id},
    origin::Origin,
    page::{LeftOut, Reason, command, pids},
};
use crate::{
    exporter::prometheus::server::Server,
    fleet::{discover::Sidecar, probe::Answer},
};
use std::{collections::HashMap, mem, sync::Arc, time::Duration};
use tokio::{
    spawn,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How long the first look waits for answers, so that slots do not depend on the order of answers.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Asks these sidecars, each in a task of its own, and follows those that have a page. At the first look it
/// waits a moment for them and takes their answers in this order.
pub(super) async fn ask(
    server: &Arc<Server<Gatherer>>,
    known: &mut HashMap<Id, Known>,
    asked: Vec<Id>,
    is_first: bool,
) {
    let mut questions = Vec::new();
    for id in asked {
        if let Some(known) = known.get_mut(&id) {
            let (server, sidecar) = (Arc::clone(server), known.sidecar.clone());
            let is_again = mem::replace(&mut known.was_asked, true);
            questions.push((id, spawn(async move { question(&server.site, &sidecar, is_again).await })));
        }
    }
    let deadline = Instant::now() + if is_first { FIRST_LOOK } else { Duration::ZERO };
    for (id, mut question) in questions {
        let Some(known) = known.get_mut(&id) else { continue };
        let (server, sidecar, ended) = (Arc::clone(server), known.sidecar.clone(), known.ended.clone());
        if let Ok(answer) = timeout_at(deadline, &mut question).await {
            take(&server, sidecar, ended, answer.ok());
        } else {
            let later = async move { take(&server, sidecar, ended, question.await.ok()) };
            known.asking = Some(spawn(later));
        }
    }
}

/// Asks a sidecar. Repeated questions have permits of their own, so that they do not delay new sidecars.
async fn question(gatherer: &Gatherer, sidecar: &Sidecar, is_again: bool) -> Answer {
    let permits = if is_again { &gatherer.asking_again } else { &gatherer.asking };
    // They are never closed.
    let _permit = permits.acquire().await;
    gatherer.connector.found(sidecar).await
}

/// Starts to follow a sidecar that has a page.
fn take(server: &Arc<Server<Gatherer>>, sidecar: Sidecar, ended: CancellationToken, answer: Option<Answer>) {
    let Some(answer) = answer else { return };
    match Origin::of(&sidecar, answer) {
        Ok(Some(Origin { published, address, started })) => {
            let Some(slot) = server.site.lock().begin(&sidecar, published) else { return };
            let (pids, command) = (pids(&sidecar), command(&sidecar));
            tracing::info!("worker {slot}: {pids} ({command}), {address}");
            spawn(follow_one(Arc::clone(server), slot, (address, started), ended));
        }
        Ok(None) => {
            let cause = "started without --export-prometheus".to_owned();
            server.site.leave_out(sidecar, &ended, Reason::NoPage, cause);
        }
        Err(cause) => server.site.leave_out(sidecar, &ended, Reason::Unreachable, cause),
    }
}

impl Gatherer {
    /// Notes that a sidecar is not on the page, and says so once.
    fn leave_out(&self, sidecar: Sidecar, ended: &CancellationToken, reason: Reason, cause: String) {
        // Before it could answer, which is no trouble.
        if ended.is_cancelled() || sidecar.has_ended() {
            return;
        }
        let left_out = &mut self.lock().left_out;
        let before = left_out.len();
        left_out.retain(|one| id(&one.sidecar) != id(&sidecar));
        if left_out.len() == before {
            self.say(format_args!("not gathered: {} ({}): {cause}", pids(&sidecar), command(&sidecar)));
        }
        left_out.push(LeftOut { sidecar, reason, cause });
    }
}
