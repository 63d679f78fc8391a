//! Questions to many sidecars at the same time.

use super::client::{ClientError, Connection};
use crate::event::proto::sidecar::GetStatusResponse;
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::Semaphore, task::JoinSet};

/// How many are asked at the same time: few enough that each is answered soon.
const CONCURRENT: usize = 64;

/// A connection and the counters, or why there are none.
pub type Answer = Result<(Connection, GetStatusResponse), ClientError>;

/// Does the same for all of them at the same time, within bounds. The results are in the same order.
pub(super) async fn each<T, O, F>(items: Vec<T>, ask: impl Fn(T) -> F) -> Vec<O>
where
    F: Future<Output = O> + Send + 'static,
    O: Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONCURRENT));
    let mut asked = JoinSet::new();
    for (at, item) in items.into_iter().enumerate() {
        let (asking, permits) = (ask(item), Arc::clone(&permits));
        asked.spawn(async move {
            // It is never closed.
            let _permit = permits.acquire().await;
            (at, asking.await)
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(joined) = asked.join_next().await {
        answers.extend(joined.ok());
    }
    answers.into_values().collect()
}
