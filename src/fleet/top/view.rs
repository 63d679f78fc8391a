//! What the user has chosen to see, and how keys change it.

use super::{
    model::Model,
    order::{WorkerOrder, next_order},
    pane::{Pane, PaneState},
    worker::Id,
};
use crate::exporter::digest::table::Order;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::rc::Rc;

/// What a key asks for beyond the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Draw,
    Redraw,
    Quit,
    Interrupt,
    Suspend,
}

/// The user's view of the model.
#[derive(Debug)]
pub(super) struct View {
    pub(super) focus: Pane,
    panes: [PaneState; 4],
    /// The worker that everything else is of.
    pub(super) worker: Option<Id>,
    /// The operation that measurements and events are of.
    pub(super) operation: Option<String>,
    pub(super) worker_order: WorkerOrder,
    pub(super) order: Order,
    /// What there was when it was paused.
    pub(super) paused: Option<Rc<Model>>,
    /// Whether the selected measurement is drawn on the whole screen.
    chart: bool,
    /// Whether only events are shown.
    pub(super) only_events: bool,
    pub(super) help: bool,
    /// The filter that is typed, and what it was before.
    pub(super) typing: Option<String>,
    /// How many of the newest events are skipped.
    pub(super) back: usize,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            focus: Pane::Workers,
            panes: Default::default(),
            worker: None,
            operation: None,
            worker_order: WorkerOrder::default(),
            order: Order::default(),
            paused: None,
            chart: false,
            only_events: false,
            help: false,
            typing: None,
            back: 0,
        }
    }

    pub(super) fn pane(&self, pane: Pane) -> &PaneState {
        let [workers, operations, measurements, events] = &self.panes;
        match pane {
            Pane::Workers => workers,
            Pane::Operations => operations,
            Pane::Measurements => measurements,
            Pane::Events => events,
        }
    }

    pub(super) fn pane_mut(&mut self, pane: Pane) -> &mut PaneState {
        let [workers, operations, measurements, events] = &mut self.panes;
        match pane {
            Pane::Workers => workers,
            Pane::Operations => operations,
            Pane::Measurements => measurements,
            Pane::Events => events,
        }
    }

    /// Whether Esc goes back from something.
    pub(super) fn can_go_back(&self) -> bool {
        self.worker.is_some() || self.operation.is_some() || self.only_events || self.shows_chart()
    }

    /// Whether the selected measurement is drawn on the whole screen.
    pub(super) fn shows_chart(&self) -> bool {
        self.chart && self.focus == Pane::Measurements
    }

    /// Whether Enter opens something.
    pub(super) fn can_open(&self) -> bool {
        match self.focus {
            Pane::Events => !self.only_events,
            _ => !self.shows_chart() && !self.pane(self.focus).keys.is_empty(),
        }
    }

    /// Handles a key.
    pub(super) fn key(&mut self, key: KeyEvent, model: &Model) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Interrupt,
                KeyCode::Char('z') => Action::Suspend,
                KeyCode::Char('l') => Action::Redraw,
                _ => Action::Draw,
            };
        }
        if self.typing.is_some() {
            self.type_filter(key.code);
            return Action::Draw;
        }
        if self.help {
            self.help = false;
            return if key.code == KeyCode::Char('q') { Action::Quit } else { Action::Draw };
        }
        let page = self.pane(self.focus).page.max(1).cast_signed();
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-page),
            KeyCode::PageDown => self.go(page),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            KeyCode::Tab => self.focus_next(1),
            KeyCode::BackTab => self.focus_next(Pane::ALL.len() - 1),
            KeyCode::Enter => self.open(),
            KeyCode::Esc | KeyCode::Backspace => self.go_back(),
            KeyCode::Char('/') => {
                let filter = &mut self.pane_mut(self.focus).filter;
                let before = std::mem::take(filter).text;
                self.typing = Some(before);
            }
            KeyCode::Char('s') => match self.focus {
                Pane::Workers => self.worker_order = self.worker_order.next(),
                _ => self.order = next_order(self.order),
            },
            KeyCode::Char(' ' | 'p') => {
                let paused = self.paused.take();
                self.paused = paused.is_none().then(|| Rc::new(model.clone()));
            }
            KeyCode::Char('e') => {
                self.only_events = !self.only_events;
                self.focus = if self.only_events { Pane::Events } else { Pane::Workers };
                self.back = 0;
            }
            _ => {}
        }
        Action::Draw
    }

    fn type_filter(&mut self, code: KeyCode) {
        let filter = &mut self.pane_mut(self.focus).filter;
        let mut text = filter.text.clone();
        match code {
            KeyCode::Enter => self.typing = None,
            KeyCode::Esc => {
                filter.set(String::new());
                self.typing = None;
            }
            KeyCode::Backspace => {
                text.pop();
                filter.set(text);
            }
            KeyCode::Char(char) if !char.is_control() => {
                text.push(char);
                filter.set(text);
            }
            _ => {}
        }
    }

    fn go(&mut self, by: isize) {
        if self.focus == Pane::Events {
            let rows = self.pane(Pane::Events).keys.len();
            self.back = self.back.saturating_add_signed(by.saturating_neg()).min(rows.saturating_sub(1));
        } else {
            self.pane_mut(self.focus).go(by);
        }
    }

    fn focus_next(&mut self, by: usize) {
        let at = Pane::ALL.iter().position(|pane| *pane == self.focus).unwrap_or(0);
        if let Some(next) = Pane::ALL.get((at + by) % Pane::ALL.len()) {
            self.focus = *next;
            (self.only_events, self.chart) = (false, false);
        }
    }

    fn open(&mut self) {
        let state = self.pane(self.focus);
        let selected = state.keys.get(state.at()).cloned();
        match self.focus {
            Pane::Workers => {
                self.worker = selected.and_then(|key| key.parse().ok());
                self.operation = None;
                if self.worker.is_some() {
                    self.focus = Pane::Operations;
                }
            }
            Pane::Operations => {
                self.operation = selected;
                if self.operation.is_some() {
                    self.focus = Pane::Events;
                }
            }
            Pane::Measurements => self.chart = selected.is_some() && !self.chart,
            Pane::Events => self.only_events = !self.only_events,
        }
        self.back = 0;
    }

    /// Goes back from the last thing that was opened.
    fn go_back(&mut self) {
        self.back = 0;
        if self.shows_chart() {
            self.chart = false;
        } else if self.only_events {
            self.only_events = false;
        } else if self.operation.take().is_some() {
            self.focus = Pane::Operations;
        } else {
            self.worker = None;
            self.focus = Pane::Workers;
        }
    }
}

#[cfg(test)]
mod tests;
