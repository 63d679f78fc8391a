//! Connections to many sidecars at the same time.

use super::{
    client::{ClientError, Connection, Connector},
    discover::Sidecar,
};
use crate::event::proto::sidecar::GetStatusResponse;
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::Semaphore, task::JoinSet};

/// How many are connected to at the same time: few enough that each is answered soon.
const CONCURRENT: usize = 64;

/// A connection and the counters, or why there are none.
pub type Answer = Result<(Connection, GetStatusResponse), ClientError>;

/// Asks all of them, in the same order. A sidecar that does not answer does not delay the others.
pub async fn ask_all(connector: &Arc<Connector>, sidecars: &[Sidecar]) -> Vec<(Sidecar, Answer)> {
    let permits = Arc::new(Semaphore::new(CONCURRENT));
    let mut asked = JoinSet::new();
    for (at, sidecar) in sidecars.iter().cloned().enumerate() {
        let (connector, permits) = (Arc::clone(connector), Arc::clone(&permits));
        asked.spawn(async move {
            // It is never closed.
            let _permit = permits.acquire().await;
            let answer = connector.found(&sidecar).await;
            (at, (sidecar, answer))
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(joined) = asked.join_next().await {
        answers.extend(joined.ok());
    }
    answers.into_values().collect()
}
