//! What the screen says about keys: the footer and the help.

use super::super::view::View;
use ratatui::{
    Frame,
    layout::Rect,
    style::Stylize as _,
    text::{Line, Span},
    widgets::{Clear, Paragraph, Widget as _},
};
use unicode_width::UnicodeWidthStr as _;

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

const HELP: [&str; 19] = [
    "up, down, j, k     select a row; PgUp, PgDn, g, G go further",
    "Tab, Shift-Tab     go to another part of the screen",
    "Enter              open the worker or the operation that is selected:",
    "                   what stands below is of it alone;",
    "                   of a measurement: draw its course on the whole screen",
    "Esc                go back",
    "/                  filter: a part of the name or of STATE, or a glob (tool.*)",
    "s                  sort the rows in another order",
    "p, Space           pause, and go on",
    "e                  only events, and back",
    "Ctrl-L             draw the screen again",
    "q                  quit",
    "",
    "EVENTS and LOST are counted since the start of the worker, all other numbers",
    "(COUNT, ERRORS, FIRST, MIN, percentiles) while you look.",
    "LOST are events that a subscriber or an exporter did not get.",
    "RATE is the mean of the last five seconds.",
    "RSS and CPU are the last rss_bytes of worker.memory.sampled and cpu_percent of",
    "worker.cpu.sampled, or of python.memory.sampled and python.cpu.sampled.",
];

/// The last row: the keys that fit, or the filter that is typed.
pub(super) fn footer(frame: &mut Frame, view: &View) {
    let all = frame.area();
    let area = Rect { y: all.y + all.height - 1, height: 1, ..all };
    if view.typing.is_some() {
        let filter = &view.pane(view.focus).filter.text;
        let what = view.focus.title().to_lowercase();
        let title = format!("filter {what}: ");
        let hint = "   Enter keeps it, Esc removes it";
        // A long filter shows its end, where the cursor is.
        let room = usize::from(area.width).saturating_sub(title.width() + 1);
        let text = format!("{title}{}_{hint}", end(filter, room));
        frame.render_widget(Line::from(text).bold(), area);
        return;
    }
    let mut spans = Vec::new();
    let mut left = usize::from(area.width);
    let (can_go_back, can_open) = (view.can_go_back(), view.can_open());
    let has_effect = |key: &str| match key {
        "Esc" => can_go_back,
        "Enter" => can_open,
        _ => true,
    };
    for (key, what) in KEYS.into_iter().filter(|(key, _)| has_effect(key)) {
        let needed = key.len() + 1 + what.len() + 2;
        let Some(rest) = left.checked_sub(needed) else { break };
        left = rest;
        spans.extend([Span::from(key).bold(), Span::from(format!(" {what}  "))]);
    }
    frame.render_widget(Line::from(spans), area);
}

/// The end of a text that fits.
fn end(text: &str, width: usize) -> &str {
    let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]);
    starts.filter_map(|start| text.get(start..)).find(|end| end.width() <= width).unwrap_or_default()
}

/// Explains the keys, on top of the panes.
pub(super) fn help(frame: &mut Frame, area: Rect) {
    let height = u16::try_from(HELP.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let area = Rect { height, ..area };
    Clear.render(area, frame.buffer_mut());
    let lines = HELP.iter().map(|line| Line::from(format!("  {line}")));
    let title = Line::from(" Keys, any key closes this").bold();
    frame.render_widget(Paragraph::new(std::iter::once(title).chain(lines).collect::<Vec<_>>()), area);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_shows_its_end() {
        let cases = [("abc", 3, "abc"), ("abc", 2, "bc"), ("äöü", 2, "öü"), ("日本", 3, "本"), ("a", 0, "")];
        for (text, width, expected) in cases {
            assert_eq!(end(text, width), expected);
        }
    }
}
