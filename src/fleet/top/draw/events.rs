//! The pane of events.

use super::{
    super::{model::Model, pane::Pane, view::View, worker::Worker},
    no_match,
    rows::of_worker,
    title,
};
use crate::{
    event,
    system::visible::one_line,
    terminal::{event_line::EventLines, screen::Screen, table::cut},
};
use ratatui::{Frame, layout::Rect, style::Stylize as _, text::Span};

/// The most events that are filtered for each frame, from the newest back.
const MAX_EVENTS: usize = 400;

/// Draws the newest events that pass the filter, as many as fit.
pub(super) fn events(
    frame: &mut Frame,
    model: &Model,
    worker: Option<&Worker>,
    view: &mut View,
    screen: &Screen,
    lines: &EventLines,
    area: Rect,
) {
    let Some(rows) = usize::from(area.height).checked_sub(1) else { return };
    let recent: Box<dyn Iterator<Item = _>> = match worker {
        Some(worker) => Box::new(worker.recent.newest().map(|((), event)| (worker.id, event))),
        None => Box::new(model.recent.newest()),
    };
    let many = worker.is_none() && model.workers.len() > 1;
    let filter = view.pane(Pane::Events).filter.clone();
    let shown = recent.take(MAX_EVENTS).filter_map(|(id, event)| {
        if view.operation.as_deref().is_some_and(|of| of != event::view::View::from(&event).operation()) {
            return None;
        }
        let mut line = lines.line(&event);
        if many {
            let worker = model.worker(id)?;
            let pid = worker.joined.pid.map(|pid| pid.to_string());
            let name = pid.unwrap_or_else(|| cut(&worker.joined.name, 12, screen.charset.ellipsis()));
            line.spans.insert(0, Span::from(format!("{name} ")).magenta());
        }
        (filter.text.is_empty() || filter.matches(&line.to_string())).then_some(line)
    });
    // A few more are counted, so that one can go back.
    let mut shown: Vec<_> = shown.take(rows + view.back + rows).collect();
    let count = shown.len();
    view.pane_mut(Pane::Events).keys = vec![String::new(); count];
    view.pane_mut(Pane::Events).page = rows;
    shown.drain(..view.back.min(count.saturating_sub(1)));
    shown.truncate(rows);
    shown.reverse();
    let note = match (&view.operation, worker) {
        (Some(operation), _) => format!("of {}", one_line(operation)),
        (None, worker) => of_worker(worker),
    };
    let note = if view.back > 0 { format!("{note} {} newer below", view.back) } else { note };
    title(frame, Pane::Events, &note, view, screen, Rect { height: 1, ..area });
    if shown.is_empty() {
        no_match(frame, Pane::Events, view, area);
    }
    for (line, y) in shown.into_iter().zip(area.y + 1..) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}
