//! A subscription before it begins.

use super::{ConsumerOptions, Hub, Subscription, consumer::Registration};
use crate::{
    control::{Control, Controls, PatternLimits},
    event::stats::ConsumerStats,
};
use std::sync::Arc;

/// A subscription that has not begun: it takes controls and is offered nothing yet. So the first control of a
/// client applies to all that the client receives.
///
/// The end of the session [waits](Hub::subscribers_left) for it as for a subscriber. Dropping it gives it up.
#[derive(Debug)]
pub struct Opening {
    hub: Arc<Hub>,
    name: String,
    options: ConsumerOptions,
    controls: Controls,
    stats: ConsumerStats,
    missing: u64,
}

impl Opening {
    pub(super) fn new(hub: Arc<Hub>, name: &str, options: ConsumerOptions, controls: Controls) -> Self {
        let mut state = hub.lock();
        state.opening += 1;
        let missing = if options.takes_backlog { state.backlog_missing } else { 0 };
        drop(state);
        Self { hub, name: name.to_owned(), options, controls, stats: ConsumerStats::default(), missing }
    }

    /// How many events the backlog had dropped, since it was replayed last, when this was opened; 0 if it
    /// takes no backlog.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Applies a control, or counts it as refused.
    pub fn control(&mut self, control: Control) {
        match self.controls.changed(control) {
            Ok(changed) => {
                self.controls = changed;
                self.stats.controls_applied += 1;
            }
            Err(_) => self.refuse_control(),
        }
    }

    /// Counts a control that could not be read.
    pub fn refuse_control(&mut self) {
        self.stats.controls_refused += 1;
    }

    /// The limits on patterns of its controls.
    pub fn pattern_limits(&self) -> PatternLimits {
        self.controls.limits()
    }

    /// The number of patterns and wildcards to match a name against.
    pub fn pattern_work(&self) -> usize {
        self.controls.work()
    }

    /// Registers the consumer. It is offered the backlog, if it takes it, and every event published from now
    /// on.
    pub fn begin(self) -> Subscription {
        self.hub.add(Registration {
            name: self.name.clone(),
            options: self.options,
            controls: self.controls.clone(),
            stats: self.stats,
            counters: None,
        })
        // Dropped after the subscriber is registered, so that the end of the session waits for one of them.
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.hub.lock().opening -= 1;
        self.hub.notify();
    }
}
