//! Tables that fit the width of a terminal.

use super::screen::Screen;
use ratatui::{
    style::Stylize as _,
    text::{Line, Span},
};
use unicode_truncate::UnicodeTruncateStr as _;
use unicode_width::UnicodeWidthStr as _;

/// Spaces between columns.
const GAP: usize = 2;

/// The side at which the cells of a column begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    /// For numbers.
    Right,
}

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    align: Align,
    /// Its cells may be cut to this width.
    min: Option<usize>,
    /// The end of a text that is cut matters more than its start.
    keeps_end: bool,
    /// Which columns go first where not all fit: the highest. 0 stays.
    drops: u8,
}

impl Column {
    /// A column of text.
    pub const fn text(title: &'static str) -> Self {
        Self { title, align: Align::Left, min: None, keeps_end: false, drops: 0 }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str) -> Self {
        Self { title, align: Align::Right, min: None, keeps_end: false, drops: 0 }
    }

    /// The same. Its cells may be cut to this width.
    #[must_use]
    pub const fn cut_to(self, min: usize) -> Self {
        Self { min: Some(min), ..self }
    }

    /// The same. Of cells that are cut the end is kept, not the start.
    #[must_use]
    pub const fn keeps_end(self) -> Self {
        Self { keeps_end: true, ..self }
    }

    /// The same. Where not all columns fit, those with a higher order are left out before it.
    #[must_use]
    pub const fn dropped(self, order: u8) -> Self {
        Self { drops: order, ..self }
    }
}

/// A table. Columns without any text in their cells are left out.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Span<'static>>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row: a cell for each column. Cells have no control characters.
    pub fn row<C: Into<Span<'static>>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The title line and the rows.
    pub fn lines(&self, screen: &Screen) -> Vec<Line<'static>> {
        let widths = self.widths(screen.width);
        let ellipsis = screen.charset.ellipsis();
        let titles = self.columns.iter().map(|column| Span::from(column.title).bold()).collect();
        let rows = std::iter::once(&titles).chain(&self.rows);
        rows.map(|cells: &Vec<Span<'static>>| self.line(cells, &widths, ellipsis)).collect()
    }

    /// A width for each column; none if it is left out.
    fn widths(&self, limit: Option<usize>) -> Vec<Option<usize>> {
        let natural = |(at, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.content.width());
            let widest = cells.max().filter(|width| *width > 0)?;
            Some(widest.max(column.title.width()))
        };
        let mut widths: Vec<_> = self.columns.iter().enumerate().map(natural).collect();
        let Some(limit) = limit else { return widths };
        loop {
            let total = widths.iter().flatten().map(|width| width + GAP).sum::<usize>().saturating_sub(GAP);
            let mut excess = total.saturating_sub(limit);
            let shrinkable = self.columns.iter().zip(&widths).map(|(column, width)| {
                width.zip(column.min).map_or(0, |(width, min)| width.saturating_sub(min))
            });
            if excess > shrinkable.sum() {
                let dropped = (self.columns.iter().zip(&mut widths))
                    .filter(|(column, width)| column.drops > 0 && width.is_some())
                    .max_by_key(|(column, _)| column.drops);
                if let Some((_, width)) = dropped {
                    *width = None;
                    continue;
                }
            }
            // Cut the widest column first.
            while excess > 0 {
                let cut = (self.columns.iter().zip(&mut widths))
                    .filter_map(|(column, width)| {
                        width.as_mut().filter(|width| column.min.is_some_and(|min| **width > min))
                    })
                    .max_by_key(|width| **width);
                let Some(width) = cut else { break };
                *width -= 1;
                excess -= 1;
            }
            return widths;
        }
    }

    fn line(&self, cells: &[Span<'static>], widths: &[Option<usize>], ellipsis: char) -> Line<'static> {
        let mut spans = Vec::new();
        // Added in front of the next cell, so that no line ends with spaces.
        let mut padding = 0;
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let Some(width) = *width else { continue };
            let cut = if column.keeps_end { cut_start } else { cut };
            let content = cut(&cell.content, width, ellipsis);
            let rest = width.saturating_sub(content.width());
            let (before, after) = if column.align == Align::Right { (rest, 0) } else { (0, rest) };
            padding += before;
            if !content.is_empty() {
                spans.push(Span::from(" ".repeat(std::mem::take(&mut padding))));
                spans.push(Span::styled(content, cell.style));
            }
            padding += after + GAP;
        }
        Line::from(spans)
    }
}

/// A text cut to a width.
pub fn cut(text: &str, width: usize, ellipsis: char) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (kept, _) = text.unicode_truncate(width.saturating_sub(1));
    if width == 0 { String::new() } else { format!("{kept}{ellipsis}") }
}

/// A text cut to a width, of which the end is kept.
fn cut_start(text: &str, width: usize, ellipsis: char) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (kept, _) = text.unicode_truncate_start(width.saturating_sub(1));
    if width == 0 { String::new() } else { format!("{ellipsis}{kept}") }
}

#[cfg(test)]
mod tests {
    use super::{super::screen::Charset, *};

    fn table() -> Table {
        let mut table = Table::new([
            Column::number("PID"),
            Column::text("COMMAND").cut_to(7),
            Column::text("EMPTY"),
            Column::number("EVENTS"),
            Column::text("NOTE").dropped(1),
        ]);
        table.row(["7", "python worker.py", "", "1,234", "x"]);
        table.row(["1234", "写", "", "", "of nothing"]);
        table
    }

    fn text(width: Option<usize>) -> String {
        let screen = Screen { width, ..Screen::FILE };
        screen.text(&table().lines(&screen))
    }

    #[test]
    fn columns_are_as_wide_as_their_text() {
        let expected = concat!(
            " PID  COMMAND           EVENTS  NOTE\n",
            "   7  python worker.py   1,234  x\n",
            "1234  写                        of nothing\n",
        );
        assert_eq!(text(None), expected);
        assert_eq!(text(Some(42)), expected);
    }

    #[test]
    fn cells_are_cut_before_columns_are_dropped() {
        let expected = concat!(
            " PID  COMMAND      EVENTS  NOTE\n",
            "   7  python wor…   1,234  x\n",
            "1234  写                   of nothing\n",
        );
        assert_eq!(text(Some(37)), expected);
        let expected = concat!(
            " PID  COMMAND  EVENTS\n", //
            "   7  python…   1,234\n",
            "1234  写\n",
        );
        assert_eq!(text(Some(21)), expected);
        assert_eq!(text(Some(5)), expected);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("写写", 4, '…'), "写写");
        assert_eq!(cut("写写", 3, '…'), "写…");
        assert_eq!(cut("写写", 2, '~'), "~");
        assert_eq!((cut_start("python.rss_bytes", 10, '…').as_str()), "…rss_bytes");
        assert_eq!((cut_start("写写", 3, '…').as_str(), cut_start("写写", 2, '…').as_str()), ("…写", "…"));
        assert_eq!((cut("ab", 1, '…').as_str(), cut("ab", 0, '…').as_str()), ("…", ""));
    }

    #[test]
    fn colours_are_written_only_where_they_are_shown() {
        let line = Line::from(vec![Span::from("a").red().bold(), Span::from("b")]);
        let coloured = Screen { colour: true, charset: Charset::Ascii, ..Screen::FILE };
        assert_eq!(Screen::FILE.text(std::slice::from_ref(&line)), "ab\n");
        let text = coloured.text(&[line]);
        assert!(text.starts_with('\u{1b}') && text.contains('a') && text.ends_with("b\n"), "{text:?}");
    }
}
