//! What a stream can show: its width, whether it takes colours, and which characters.

use crate::system::fd::window_size;
use ratatui::backend::IntoCrossterm as _;
use ratatui::{crossterm::style::StyledContent, text::Line};
use std::{borrow::Cow, env, fmt::Write as _, io::IsTerminal, os::fd::AsFd};
use unicode_width::UnicodeWidthChar as _;

/// Narrower windows are taken for this: nothing can be shown in them.
const MIN_WIDTH: usize = 20;

/// The characters that are shown as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    Unicode,
    /// The locale is not UTF-8.
    Ascii,
}

impl Charset {
    /// The character set of the locale: the first of these variables that is not empty says it, as in C.
    pub fn of_locale() -> Self {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(env::var_os)
            .find(|value| !value.is_empty());
        let name = set.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if name.contains("utf-8") || name.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }

    /// The text in these characters, as wide as it was.
    pub fn shown(self, text: &str) -> Cow<'_, str> {
        if self == Self::Unicode || text.is_ascii() {
            return text.into();
        }
        let mut shown = String::with_capacity(text.len());
        for char in text.chars() {
            match char {
                'µ' => shown.push('u'),
                ascii if ascii.is_ascii() => shown.push(ascii),
                other => shown.extend(std::iter::repeat_n('?', other.width().unwrap_or(0))),
            }
        }
        shown.into()
    }

    /// Marks the end of a text that was cut.
    pub fn ellipsis(self) -> char {
        match self {
            Self::Unicode => '…',
            Self::Ascii => '~',
        }
    }
}

/// What a stream can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// The columns of a terminal; none if it is not a terminal: lines may have any length then.
    pub width: Option<usize>,
    /// Whether it is a terminal that takes colours, and `NO_COLOR` is not set.
    pub colour: bool,
    /// The characters it shows.
    pub charset: Charset,
}

impl Screen {
    /// A file: any width, no colours.
    pub const FILE: Self = Self { width: None, colour: false, charset: Charset::Unicode };

    /// What this stream shows.
    pub fn of(stream: impl AsFd) -> Self {
        let fd = stream.as_fd();
        if !fd.is_terminal() {
            return Self::FILE;
        }
        let size = window_size(fd);
        let columns = size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let columns = columns.or_else(|| env::var("COLUMNS").ok()?.parse().ok()).unwrap_or(80);
        let colour = !anstyle_query::no_color() && anstyle_query::term_supports_ansi_color();
        Self { width: Some(columns.max(MIN_WIDTH)), colour, charset: Charset::of_locale() }
    }

    /// The lines as text, each with its newline.
    pub fn text(&self, lines: &[Line<'_>]) -> String {
        let mut text = String::new();
        for line in lines {
            for span in &line.spans {
                let style = line.style.patch(span.style);
                let content = self.charset.shown(&span.content);
                // Writing to a String does not fail.
                let _ = if self.colour && style != ratatui::style::Style::default() {
                    write!(text, "{}", StyledContent::new(style.into_crossterm(), &content))
                } else {
                    write!(text, "{content}")
                };
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_without_unicode_shows_text_of_the_same_width() {
        assert_eq!(Charset::Ascii.shown("12 µs 写é\u{301}"), "12 us ???");
        assert_eq!(Charset::Unicode.shown("12 µs"), "12 µs");
    }
}
