//! `--lifecycle`: events about the worker's start and end.

use super::{
    Observation, Observer,
    names::{EXITED, STARTED},
    output::last_lines,
};
use crate::{
    event::{
        ended::{EXIT_CODE, SIGNAL},
        proto::bridge::telemetry_value::Value,
    },
    system::last_bytes::LastBytes,
    worker::{End, Exit, exit::signal_name, state::WorkerState},
};
use std::{sync::Arc, time::Duration};

/// The event of a failure that Snakepit knows. It knows no other one, and drops them.
const SNAKEPIT_ERROR: &str = "python.error.occurred";

/// Which events to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Whether the end of a worker that did not exit with 0 has the last lines of its stderr.
    pub has_output: bool,
    /// Whether a worker that failed is an event that Snakepit knows as well.
    pub is_snakepit: bool,
}

/// Publishes the events of a worker.
#[derive(Debug)]
pub struct Lifecycle {
    settings: Settings,
    worker: Arc<WorkerState>,
    observer: Observer,
}

impl Lifecycle {
    /// For this worker.
    pub fn new(settings: Settings, worker: Arc<WorkerState>, observer: Observer) -> Self {
        Self { settings, worker, observer }
    }

    /// Publishes that the worker has been started.
    pub fn publish_start(&self) {
        self.observer.publish([self.event(STARTED)]);
    }

    /// Publishes how the worker has ended. `output` is the end of its stderr, if that is to be published.
    pub fn publish_end(&self, output: Option<LastBytes>) {
        let Some(end) = self.worker.end() else { return };
        let output = output.filter(|_| end.exit != Exit::Code(0)).map(LastBytes::take);
        let output = output.map(|(bytes, is_cut)| last_lines(&bytes, is_cut));
        let output = output.filter(|output| !output.is_empty());
        let events = [Some(self.exited(&end)), self.snakepit_error(&end)].into_iter().flatten();
        self.observer.publish_end(events.map(|event| match &output {
            Some(output) => event.described("output", output),
            None => event,
        }));
    }

    fn exited(&self, end: &End) -> Observation {
        let End { exit, usage, oom_kills, .. } = *end;
        let (key, number) = match exit {
            Exit::Code(code) => (EXIT_CODE, code),
            Exit::Signal(signal) => (SIGNAL, signal),
        };
        let event = self
            .event(EXITED)
            .measured(key, Value::IntValue(number.into()))
            .measured("duration", nanoseconds(self.worker.run_time()))
            .measured("cpu", nanoseconds(usage.cpu()))
            .measured("max_rss_bytes", integer(usage.max_rss_bytes.into()))
            .described("reason", end.reason.as_str());
        match oom_kills {
            Some(count @ 1..) => event.measured("oom_kills", integer(count.into())),
            _ => event,
        }
    }

    fn snakepit_error(&self, end: &End) -> Option<Observation> {
        let (kind, message) = match end.exit {
            exit if !exit.has_failed() => return None,
            Exit::Code(code) => (code.to_string(), format!("the worker exited with {code}")),
            Exit::Signal(number) => {
                let name = signal_name(number);
                let message = format!("the worker was killed by {name}");
                (name, message)
            }
        };
        let event = self
            .event(SNAKEPIT_ERROR)
            .measured("count", Value::IntValue(1))
            .described("reason", end.reason.as_str())
            .described("error_type", kind)
            .described("error_message", message + end.reason.note());
        let event = match end.exit {
            Exit::Code(code) => event.described("exit_code", code.to_string()),
            Exit::Signal(_) => event,
        };
        self.settings.is_snakepit.then_some(event)
    }

    fn event(&self, name: &'static str) -> Observation {
        let pid = self.worker.pid().unwrap_or_default();
        Observation::new(name)
            .described("worker_pid", pid.to_string())
            .described("program", self.worker.program())
    }
}

fn nanoseconds(time: Duration) -> Value {
    integer(time.as_nanos())
}

fn integer(number: u128) -> Value {
    Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
