//! Draws the screen.

use super::{
    layout::heights,
    model::Model,
    panes,
    view::{Pane, View},
    worker::Worker,
};
use crate::{
    exporter::{
        digest::{Digest, table},
        event::Event,
    },
    system::visible::one_line,
    terminal::{
        event_line::EventLines,
        screen::{Charset, Screen},
        sparkline::sparkline,
        table::cut,
    },
};
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Clear, Paragraph, Widget as _},
};

/// The least size at which something can be shown.
const MIN_SIZE: (u16, u16) = (40, 10);

/// The marks of rows take these columns.
const MARK_COLUMNS: u16 = 2;

/// How many of the last events are looked at for those that are to be shown.
const MAX_EVENTS: usize = 400;

/// The keys, as the footer shows them.
const KEYS: [(&str, &str); 10] = [
    ("q", "quit"),
    ("?", "help"),
    ("Tab", "pane"),
    ("Enter", "open"),
    ("Esc", "back"),
    ("/", "filter"),
    ("s", "sort"),
    ("p", "pause"),
    ("e", "events"),
    ("j/k", "move"),
];

const HELP: [&str; 15] = [
    "up, down, j, k     select a row; PgUp, PgDn, g, G go further",
    "Tab, Shift-Tab     go to another part of the screen",
    "Enter              open the worker or the operation that is selected:",
    "                   what stands below is of it alone",
    "Esc                go back",
    "/                  filter the rows: a part of the name, or a glob (tool.*)",
    "s                  sort the rows in another order",
    "p, Space           pause, and go on",
    "e                  only events, and back",
    "Ctrl-L             draw the screen again",
    "q                  quit",
    "",
    "EVENTS are counted since the start of the worker, ERRORS while you look.",
    "LOST are events that a subscriber or an exporter did not get.",
    "RATE is the mean of the last five seconds.",
];

/// The rows of a pane, behind a line of titles.
struct Rows {
    note: String,
    lines: Vec<Line<'static>>,
    keys: Vec<String>,
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, model: &Model, view: &mut View, screen: &Screen, lines: &EventLines) {
    let area = frame.area();
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        let text = format!("at least {} columns and {} rows are needed", MIN_SIZE.0, MIN_SIZE.1);
        frame.render_widget(Paragraph::new(text).wrap(ratatui::widgets::Wrap { trim: true }), area);
        return finish(frame.buffer_mut(), screen);
    }
    let screen = Screen { width: Some(usize::from(area.width - MARK_COLUMNS)), ..*screen };
    header(frame, model, view, &screen);
    let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
    if model.workers.is_empty() {
        nothing(frame, model, body);
    } else {
        body_panes(frame, model, view, &screen, lines, body);
    }
    footer(frame, view);
    if view.help {
        help(frame, body);
    }
    finish(frame.buffer_mut(), &screen);
}

fn header(frame: &mut Frame, model: &Model, view: &View, screen: &Screen) {
    let area = Rect { height: 1, ..frame.area() };
    let summary = panes::summary(model);
    let room = usize::from(area.width).saturating_sub(summary.width());
    let right = if view.paused.is_some() {
        Line::from(" PAUSED ".reversed().bold())
    } else {
        Line::from(sparkline(&model.window.course(), room.saturating_sub(3).min(40), screen.charset).cyan())
    };
    frame.render_widget(summary, area);
    if room > right.width() + 1 || view.paused.is_some() {
        frame.render_widget(right.right_aligned(), area);
    }
}

fn nothing(frame: &mut Frame, model: &Model, area: Rect) {
    let mut text = vec![
        Line::default(),
        Line::from("  no sidecars yet").bold(),
        Line::default(),
        Line::from("  Start one: telemetry-sidecar -- COMMAND"),
    ];
    if let Some(left_out) = &model.left_out {
        text.extend([Line::default(), Line::from(format!("  {left_out}"))]);
    }
    frame.render_widget(Paragraph::new(text), area);
}

fn body_panes(
    frame: &mut Frame,
    model: &Model,
    view: &mut View,
    screen: &Screen,
    lines: &EventLines,
    area: Rect,
) {
    let worker = view.worker.and_then(|id| model.worker(id));
    let tables = [
        (Pane::Workers, workers(model, view, screen)),
        (Pane::Operations, operations(model, worker, view, screen)),
        (Pane::Measurements, measurements(model, worker, view, screen)),
    ];
    let wanted = tables.each_ref().map(|(pane, rows)| {
        let is_shown = !rows.keys.is_empty() || !view.pane(*pane).filter.text.is_empty();
        if is_shown && !view.only_events { rows.lines.len() } else { 0 }
    });
    let focus = Pane::ALL.iter().position(|pane| *pane == view.focus).unwrap_or(0);
    let heights = heights(wanted, focus, usize::from(area.height));
    let mut y = area.y;
    let [.., events_height] = heights;
    let part = |y: u16, height: usize| {
        let height = u16::try_from(height).unwrap_or(u16::MAX);
        Rect { y, height, ..area }.intersection(area)
    };
    for ((pane, rows), height) in tables.into_iter().zip(heights) {
        let part = part(y, height);
        y += part.height;
        view.pane_mut(pane).keys.clone_from(&rows.keys);
        view.pane_mut(pane).page = height.saturating_sub(2);
        table_pane(frame, pane, &rows, view, screen, part);
    }
    let part = part(y, events_height);
    events(frame, model, worker, view, screen, lines, part);
}

fn workers(model: &Model, view: &View, screen: &Screen) -> Rows {
    let filter = &view.pane(Pane::Workers).filter;
    let is_shown = |worker: &&Worker| {
        let pid = worker.joined.pid.map(|pid| pid.to_string()).unwrap_or_default();
        filter.matches(&worker.joined.name) || filter.matches(&pid)
    };
    let mut shown: Vec<_> = model.workers.iter().filter(is_shown).collect();
    view.worker_order.sort(&mut shown);
    let (table, ids) = panes::workers(&shown, screen);
    let keys = ids.iter().map(ToString::to_string).collect();
    Rows { note: format!("by {}", view.worker_order.name()), lines: table.lines(screen), keys }
}

/// The digest of the worker that was opened, or of all.
fn digest<'a>(model: &'a Model, worker: Option<&'a Worker>) -> &'a Digest {
    worker.map_or(&model.digest, |worker| &worker.digest)
}

fn of_worker(worker: Option<&Worker>) -> String {
    let name = |worker: &Worker| match worker.joined.pid {
        Some(pid) => format!("of {pid} {}", worker.joined.name),
        None => format!("of {}", worker.joined.name),
    };
    worker.map(name).unwrap_or_default()
}

fn operations(model: &Model, worker: Option<&Worker>, view: &View, screen: &Screen) -> Rows {
    let filter = &view.pane(Pane::Operations).filter;
    let digest = digest(model, worker);
    let (rates, length) = match worker {
        Some(worker) => (&worker.rates, worker.length()),
        None => (&model.rates, model.length()),
    };
    let mut shown = panes::operations(digest, view.order);
    shown.retain(|operation| filter.matches(&operation.name));
    let keys = shown.iter().map(|operation| operation.name.clone()).collect();
    let rows = shown.into_iter();
    let rows = rows.map(|operation| (operation, panes::operation_rate(digest, rates, length, operation)));
    let note = format!("by {} {}", panes::order_name(view.order), of_worker(worker));
    Rows { note, lines: table::operations(rows).lines(screen), keys }
}

fn measurements(model: &Model, worker: Option<&Worker>, view: &View, screen: &Screen) -> Rows {
    let filter = &view.pane(Pane::Measurements).filter;
    let digest = digest(model, worker);
    let of = view.operation.as_deref();
    let mut shown: Vec<_> = digest.measurements().collect();
    shown.retain(|row| of.is_none_or(|of| of == row.0.name) && filter.matches(&panes::measurement_name(row)));
    let keys = shown.iter().map(panes::measurement_name).collect();
    let others = if of.is_none() && filter.text.is_empty() { digest.other_values() } else { 0 };
    let note = of.map_or_else(|| of_worker(worker), |of| format!("of {}", one_line(of)));
    Rows { note, lines: table::measurements(shown, others, screen).lines(screen), keys }
}

fn events(
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
        let event = Event::from(event);
        if view.operation.as_deref().is_some_and(|of| of != event.operation()) {
            return None;
        }
        let mut line = lines.line(&event.event);
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
    for (line, y) in shown.into_iter().zip(area.y + 1..) {
        frame.render_widget(line, Rect { y, height: 1, ..area });
    }
}

fn table_pane(frame: &mut Frame, pane: Pane, rows: &Rows, view: &View, screen: &Screen, area: Rect) {
    if area.height == 0 {
        return;
    }
    let visible = usize::from(area.height).saturating_sub(2);
    let (state, count) = (view.pane(pane), rows.lines.len().saturating_sub(1));
    let selected = state.at();
    let first = (selected + 1).saturating_sub(visible);
    let mut note = rows.note.clone();
    if count > visible {
        note = format!("{}-{} of {count} {note}", first + 1, (first + visible).min(count));
    }
    title(frame, pane, &note, view, screen, Rect { height: 1, ..area });
    let opened = match pane {
        Pane::Workers => view.worker.map(|id| id.to_string()),
        Pane::Operations => view.operation.clone(),
        _ => None,
    };
    let shown = rows.lines.iter().take(1).map(|line| (None, line));
    let shown =
        shown.chain(rows.lines.iter().skip(1).enumerate().skip(first).map(|(at, line)| (Some(at), line)));
    for ((at, line), y) in shown.zip(area.y + 1..area.y + area.height) {
        let is_selected = at == Some(selected) && view.focus == pane && !rows.keys.is_empty();
        let is_opened = at.is_some_and(|at| opened.is_some() && rows.keys.get(at) == opened.as_ref());
        let mark = if is_selected {
            "> "
        } else if is_opened {
            "* "
        } else {
            "  "
        };
        let row = Rect { y, height: 1, ..area };
        // A line would make the whole row bold.
        frame.render_widget(mark.bold(), row);
        let text = Rect { x: row.x + MARK_COLUMNS, width: row.width - MARK_COLUMNS, ..row };
        frame.render_widget(line, text);
        if is_selected {
            frame.buffer_mut().set_style(row, Style::new().reversed());
        }
    }
}

/// The line above a pane.
fn title(frame: &mut Frame, pane: Pane, note: &str, view: &View, screen: &Screen, area: Rect) {
    let is_focused = view.focus == pane;
    let rule = match (screen.charset, is_focused) {
        (Charset::Unicode, false) => '─',
        (Charset::Unicode, true) => '━',
        (Charset::Ascii, false) => '-',
        (Charset::Ascii, true) => '=',
    };
    let mut text = format!("{rule} {} {note}", pane.title()).trim_end().to_owned();
    let filter = &view.pane(pane).filter.text;
    if !filter.is_empty() {
        text = format!("{text} /{filter}");
    }
    let width = usize::from(area.width);
    let mut text = cut(&(text + " "), width, screen.charset.ellipsis());
    let rest = width.saturating_sub(Line::from(text.as_str()).width());
    text.extend(std::iter::repeat_n(rule, rest));
    let style = if is_focused { Style::new().bold() } else { Style::new().dim() };
    frame.render_widget(Line::styled(text, style), area);
}

fn footer(frame: &mut Frame, view: &View) {
    let all = frame.area();
    let area = Rect { y: all.y + all.height - 1, height: 1, ..all };
    if view.typing.is_some() {
        let filter = &view.pane(view.focus).filter.text;
        let what = view.focus.title().to_lowercase();
        let text = format!("filter {what}: {filter}_   Enter keeps it, Esc removes it");
        frame.render_widget(Line::from(text).bold(), area);
        return;
    }
    let mut spans = Vec::new();
    let mut left = usize::from(area.width);
    let can_go_back = view.can_go_back();
    for (key, what) in KEYS.into_iter().filter(|(key, _)| *key != "Esc" || can_go_back) {
        let needed = key.len() + 1 + what.len() + 2;
        let Some(rest) = left.checked_sub(needed) else { break };
        left = rest;
        spans.extend([Span::from(key).bold(), Span::from(format!(" {what}  "))]);
    }
    frame.render_widget(Line::from(spans), area);
}

fn help(frame: &mut Frame, area: Rect) {
    let height = u16::try_from(HELP.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let area = Rect { height, ..area };
    Clear.render(area, frame.buffer_mut());
    let lines = HELP.iter().map(|line| Line::from(format!("  {line}")));
    let title = Line::from(" Keys, any key closes this").bold();
    frame.render_widget(Paragraph::new(std::iter::once(title).chain(lines).collect::<Vec<_>>()), area);
}

/// Leaves out colours and characters that the terminal does not show.
fn finish(buffer: &mut Buffer, screen: &Screen) {
    for cell in &mut buffer.content {
        if !screen.colour {
            cell.fg = Color::Reset;
            cell.bg = Color::Reset;
        }
        if screen.charset == Charset::Ascii && !cell.symbol().is_ascii() {
            let symbol = match cell.symbol() {
                "µ" => "u",
                "…" => "~",
                _ => "?",
            };
            cell.set_symbol(symbol);
        }
    }
}
