//! `top --once`: the tables as text.

use super::{
    model::{Model, Update},
    order::WorkerOrder,
    tables,
    worker::{State, Worker},
};
use crate::{
    exporter::digest::{
        Operation,
        table::{self, Order},
    },
    terminal::screen::Screen,
};
use ratatui::text::Line;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How often counters are asked for and rates are taken, so that there are some by the end of the interval.
pub(super) fn sample(interval: Duration) -> Duration {
    (interval / 4).clamp(Duration::from_millis(50), Duration::from_millis(500))
}

/// How much longer to wait for connections that are being established.
const CONNECT: Duration = Duration::from_secs(1);

/// Looks for this long, or until all recordings are read, if there is nothing else. If sidecars are to be
/// found, it looks until they were looked for once.
pub(super) async fn look(
    mut updates: mpsc::Receiver<Update>,
    interval: Option<Duration>,
    finds: bool,
) -> Model {
    let mut has_looked = !finds;
    let mut model = Model::new();
    let start = Instant::now();
    let (sample, mut last) = (sample(interval.unwrap_or_default()), start);
    loop {
        let end = async {
            let connecting = model.workers.iter().any(|worker| worker.state == State::Connecting);
            match interval.filter(|_| has_looked) {
                Some(interval) if connecting => sleep_until(start + interval + CONNECT).await,
                Some(interval) => sleep_until(start + interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = end => break,
            update = updates.recv() => match update {
                Some(update) => {
                    has_looked |= matches!(update, Update::Scanned(_));
                    model.apply(update);
                }
                None => break,
            },
            () = sleep_until(last + sample) => {
                let now = Instant::now();
                model.tick((now - last).as_secs_f64());
                last = now;
            }
        }
    }
    model
}

/// The tables.
pub(super) fn lines(model: &Model, screen: &Screen) -> Vec<Line<'static>> {
    let mut lines = vec![tables::summary(model), Line::default()];
    let mut workers: Vec<&Worker> = model.workers.iter().collect();
    WorkerOrder::default().sort(&mut workers);
    lines.extend(tables::workers(&workers, screen, false).0.lines(screen));
    let pace = model.pace();
    let rate = |operation: &Operation| tables::operation_rate(&model.digest, &model.rates, pace, operation);
    let digest = table::digest(&model.digest, Order::default(), rate, screen);
    if !digest.is_empty() {
        lines.push(Line::default());
        lines.extend(digest);
    }
    if let Some(left_out) = &model.left_out {
        lines.push(Line::default());
        lines.push(Line::from(left_out.clone()));
    }
    lines
}
