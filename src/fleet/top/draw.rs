//! Draws the screen.

mod chart;
mod events;
mod keys;
mod rows;

use super::{layout::heights, model::Model, pane::Pane, tables, view::View};
use crate::terminal::{
    event_line::EventLines,
    screen::{Charset, Screen},
    sparkline::bars,
    table::cut,
};
use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style, Stylize as _},
    text::Line,
    widgets::Paragraph,
};
use rows::Rows;

/// The least size at which something can be shown.
const MIN_SIZE: (u16, u16) = (40, 10);

/// The marks of rows take these columns.
const MARK_COLUMNS: u16 = 2;

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
    keys::footer(frame, view);
    if view.help {
        keys::help(frame, body);
    }
    finish(frame.buffer_mut(), &screen);
}

fn header(frame: &mut Frame, model: &Model, view: &View, screen: &Screen) {
    let area = Rect { height: 1, ..frame.area() };
    let summary = tables::summary(model);
    let room = usize::from(area.width).saturating_sub(summary.width());
    let right = if view.paused.is_some() {
        Line::from(" PAUSED ".reversed().bold())
    } else {
        Line::from(bars(&model.window.course(), room.saturating_sub(3).min(40), screen.charset).cyan())
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
    if view.shows_chart() {
        let rows = rows::measurements(model, worker, view, screen);
        view.pane_mut(Pane::Measurements).keys = rows.keys;
        return chart::chart(frame, rows::digest(model, worker), worker, view, screen, area);
    }
    let tables = [
        (Pane::Workers, rows::workers(model, view, screen)),
        (Pane::Operations, rows::operations(model, worker, view, screen)),
        (Pane::Measurements, rows::measurements(model, worker, view, screen)),
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
    events::events(frame, model, worker, view, screen, lines, part);
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
    if rows.keys.is_empty() && count == 0 {
        return no_match(frame, pane, view, area);
    }
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

/// Says that nothing passes the filter, below the title.
fn no_match(frame: &mut Frame, pane: Pane, view: &View, area: Rect) {
    let filter = &view.pane(pane).filter.text;
    if area.height > 1 && !filter.is_empty() {
        let line = Line::from(format!("  no {} matches \"{filter}\"", pane.row())).dim();
        frame.render_widget(line, Rect { y: area.y + 1, height: 1, ..area });
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
