//! The sidecar's own events about a worker: how it has ended, and what it uses. They are no operations and
//! no measurements of the worker's.

use crate::{
    event::{
        ended::{EXIT_CODE, SIGNAL},
        view::View,
    },
    fleet::ended::how_ended,
    observer::names::{CPU_SAMPLED, EXITED, MEMORY_SAMPLED, is_observed},
    terminal::number::grouped,
    worker::end::Reason,
};

/// What such events say.
#[derive(Debug, Clone, Default)]
pub(super) struct Observed {
    /// How many workers have ended: a recording may be of several runs.
    ends: u64,
    failures: u64,
    /// As a trailer says it.
    last_end: String,
    pub(super) rss_bytes: Option<f64>,
    pub(super) cpu_percent: Option<f64>,
}

impl Observed {
    /// Takes an event, unless it is the worker's own.
    pub(super) fn takes(&mut self, event: &View<'_>) -> bool {
        if !is_observed(event.name()) {
            return false;
        }
        match event.name() {
            EXITED => self.add_end(event),
            MEMORY_SAMPLED => self.rss_bytes = event.number("rss_bytes").or(self.rss_bytes),
            CPU_SAMPLED => self.cpu_percent = event.number("cpu_percent").or(self.cpu_percent),
            _ => {}
        }
        true
    }

    fn add_end(&mut self, event: &View<'_>) {
        let end = match (event.int(EXIT_CODE), event.int(SIGNAL)) {
            (Some(code), _) => format!("exit {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => return,
        };
        let reason = event.metadatum("reason").unwrap_or_default();
        let reasons = [Reason::OutOfMemory, Reason::MaybeOutOfMemory];
        let note = reasons.into_iter().find(|known| known.as_str() == reason).map_or("", Reason::note);
        self.last_end = end + note;
        self.ends += 1;
        self.failures += u64::from(event.has_failed());
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// How the worker has ended, or how many have; none if no event says it.
    pub(super) fn how_ended(&self) -> Option<String> {
        match (self.ends, self.failures) {
            (0, _) => None,
            (1, _) => Some(how_ended(&self.last_end)),
            (ends, 0) => Some(format!("{} ended", grouped(ends))),
            (ends, failures) => Some(format!("{} ended, {} failed", grouped(ends), grouped(failures))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value};

    fn event(name: &str, key: &str, number: i64, reason: &str) -> TelemetryEvent {
        let value = TelemetryValue { value: Some(telemetry_value::Value::IntValue(number)) };
        TelemetryEvent {
            event_parts: name.split('.').map(str::to_owned).collect(),
            measurements: [(key.to_owned(), value)].into(),
            metadata: [("reason".to_owned(), reason.to_owned())].into(),
            ..TelemetryEvent::default()
        }
    }

    fn of(events: &[TelemetryEvent]) -> (Observed, usize) {
        let mut observed = Observed::default();
        let taken = events.iter().filter(|event| observed.takes(&View::from(*event))).count();
        (observed, taken)
    }

    #[test]
    fn the_workers_own_events_are_not_taken() {
        let (observed, taken) = of(&[
            event("worker.started", "x", 1, ""),
            event("python.memory.sampled", "rss_bytes", 1, ""),
            event("worker.memory.sampled", "rss_bytes", 2, ""),
            event("worker.memory.sampled", "swap_bytes", 3, ""),
            event("worker.job", "x", 1, ""),
        ]);
        assert_eq!((taken, observed.rss_bytes, observed.how_ended()), (3, Some(2.0), None));
    }

    #[test]
    fn ends_are_put_into_words() {
        let exited = |key, number, reason| event("worker.exited", key, number, reason);
        let ended = |events: &[_]| {
            let (observed, _) = of(events);
            (observed.how_ended().unwrap_or_default(), observed.has_failed())
        };
        let (ok, failed) = (exited("exit_code", 0, "exit"), exited("exit_code", 3, "exit"));
        assert_eq!(ended(&[]), (String::new(), false));
        assert_eq!(ended(std::slice::from_ref(&ok)), ("exited with 0".into(), false));
        assert_eq!(ended(std::slice::from_ref(&failed)), ("exited with 3".into(), true));
        assert_eq!(ended(&[exited("signal", 15, "signal")]), ("killed by SIGTERM".into(), false));
        assert_eq!(
            ended(&[exited("signal", 9, "out of memory")]),
            ("killed by SIGKILL (out of memory)".into(), true)
        );
        assert_eq!(ended(&[ok.clone(), ok.clone()]), ("2 ended".into(), false));
        assert_eq!(ended(&[failed, ok]), ("2 ended, 1 failed".into(), true));
    }
}
