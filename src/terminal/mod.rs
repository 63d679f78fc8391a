//! Text for people: tables, colours, units, sparklines; and standard output.
//!
//! Styled text is ratatui's [`Line`](ratatui::text::Line): the live view draws the same lines that other
//! commands print.

pub mod event_line;
pub mod number;
pub mod screen;
pub mod sparkline;
pub mod standard_output;
pub mod table;
