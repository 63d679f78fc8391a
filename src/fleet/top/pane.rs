//! The panes of the screen: which rows there are, which one is selected, which are left out.

use crate::control::glob::Glob;

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Workers,
    Operations,
    Measurements,
    Events,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Workers, Self::Operations, Self::Measurements, Self::Events];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Workers => "WORKERS",
            Self::Operations => "OPERATIONS",
            Self::Measurements => "MEASUREMENTS",
            Self::Events => "EVENTS",
        }
    }

    /// What its rows are.
    pub(super) fn row(self) -> &'static str {
        match self {
            Self::Workers => "worker",
            Self::Operations => "operation",
            Self::Measurements => "measurement",
            Self::Events => "event",
        }
    }
}

/// The state of one pane.
#[derive(Debug, Clone, Default)]
pub(super) struct PaneState {
    /// The row that is selected, by its key.
    pub(super) selected: Option<String>,
    /// The keys of the rows that were drawn last, in their order.
    pub(super) keys: Vec<String>,
    pub(super) filter: Filter,
    /// How many rows fit.
    pub(super) page: usize,
}

impl PaneState {
    /// The position of the selected row.
    pub(super) fn at(&self) -> usize {
        let selected = self.selected.as_ref();
        selected.and_then(|selected| self.keys.iter().position(|key| key == selected)).unwrap_or(0)
    }

    /// The key of the selected row, if there are rows.
    pub(super) fn selected_key(&self) -> Option<&str> {
        self.keys.get(self.at()).map(String::as_str)
    }

    /// Selects the row that is `by` further down, or the first or the last one.
    pub(super) fn go(&mut self, by: isize) {
        let last = self.keys.len().saturating_sub(1);
        self.selected = self.keys.get(self.at().saturating_add_signed(by).min(last)).cloned();
    }
}

/// Selects rows by their text.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) text: String,
    glob: Option<Glob>,
}

impl Filter {
    pub(super) fn set(&mut self, text: String) {
        self.glob = text.contains(['*', '?', '[']).then(|| Glob::new(&text));
        self.text = text;
    }

    /// A text with `*`, `?` or `[` is a glob for the whole; any other one is a part, in any case.
    pub(super) fn matches(&self, text: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.matches(text),
            None => self.text.is_empty() || text.to_lowercase().contains(&self.text.to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selection_stays_at_its_row_when_rows_move() {
        let mut pane = PaneState { keys: vec!["a".into(), "b".into()], ..PaneState::default() };
        pane.go(1);
        pane.keys = vec!["b".into(), "c".into(), "a".into()];
        assert_eq!((pane.selected.as_deref(), pane.at()), (Some("b"), 0));
        pane.go(isize::MAX);
        assert_eq!(pane.selected.as_deref(), Some("a"));
        pane.keys.clear();
        pane.go(1);
        assert_eq!(pane.selected, None);
    }
}
