//! The rows of the tables that pass their filters, in the order that was chosen.

use super::super::{model::Model, order::order_name, pane::Pane, tables, view::View, worker::Worker};
use crate::{
    exporter::digest::{Digest, table},
    system::visible::one_line,
    terminal::screen::Screen,
};
use ratatui::text::Line;

/// The rows of a pane, behind a line of titles.
pub(super) struct Rows {
    pub(super) note: String,
    pub(super) lines: Vec<Line<'static>>,
    pub(super) keys: Vec<String>,
}

pub(super) fn workers(model: &Model, view: &View, screen: &Screen) -> Rows {
    let filter = &view.pane(Pane::Workers).filter;
    let is_shown = |worker: &&Worker| {
        let pid = worker.joined.pid.map(|pid| pid.to_string()).unwrap_or_default();
        [&worker.joined.name, &pid, &*tables::state(worker).content]
            .into_iter()
            .any(|text| filter.matches(text))
    };
    let mut shown: Vec<_> = model.workers.iter().filter(is_shown).collect();
    view.worker_order.sort(&mut shown);
    let (table, ids) = tables::workers(&shown, screen, true);
    let keys = ids.iter().map(ToString::to_string).collect();
    Rows { note: format!("by {}", view.worker_order.name()), lines: table.lines(screen), keys }
}

/// The digest of the worker that was opened, or of all.
pub(super) fn digest<'a>(model: &'a Model, worker: Option<&'a Worker>) -> &'a Digest {
    worker.map_or(&model.digest, |worker| &worker.digest)
}

/// What the rows are of, if a worker was opened.
pub(super) fn of_worker(worker: Option<&Worker>) -> String {
    let name = |worker: &Worker| match worker.joined.pid {
        Some(pid) => format!("of {pid} {}", worker.joined.name),
        None => format!("of {}", worker.joined.name),
    };
    worker.map(name).unwrap_or_default()
}

pub(super) fn operations(model: &Model, worker: Option<&Worker>, view: &View, screen: &Screen) -> Rows {
    let filter = &view.pane(Pane::Operations).filter;
    let digest = digest(model, worker);
    let (rates, pace) = match worker {
        Some(worker) => (&worker.rates, worker.pace()),
        None => (&model.rates, model.pace()),
    };
    let mut shown = view.order.sorted(digest);
    shown.extend(digest.other());
    shown.retain(|operation| filter.matches(&operation.name));
    let keys = shown.iter().map(|operation| operation.name.clone()).collect();
    let rows = shown.into_iter();
    let rows = rows.map(|operation| (operation, tables::operation_rate(digest, rates, pace, operation)));
    let note = format!("by {} {}", order_name(view.order), of_worker(worker));
    Rows { note, lines: table::operations(rows).lines(screen), keys }
}

pub(super) fn measurements(model: &Model, worker: Option<&Worker>, view: &View, screen: &Screen) -> Rows {
    let filter = &view.pane(Pane::Measurements).filter;
    let digest = digest(model, worker);
    let of = view.operation.as_deref();
    let mut shown: Vec<_> = digest.measurements().collect();
    shown
        .retain(|row| of.is_none_or(|of| of == row.0.name) && filter.matches(&tables::measurement_name(row)));
    let keys = shown.iter().map(tables::measurement_name).collect();
    let others = if of.is_none() && filter.text.is_empty() { digest.other_values() } else { 0 };
    let note = of.map_or_else(|| of_worker(worker), |of| format!("of {}", one_line(of)));
    Rows { note, lines: table::measurements(shown, others, screen).lines(screen), keys }
}
