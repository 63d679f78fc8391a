//! `--lifecycle`: events about the worker's start and end.

use super::{Observation, Observer, output::last_lines};
use crate::{
    event::proto::bridge::telemetry_value::Value,
    system::last_bytes::LastBytes,
    worker::{End, Exit, state::WorkerState},
};
use std::{sync::Arc, time::Duration};

/// The event of the start. It precedes the worker's own.
const STARTED: &str = "worker.started";

/// The event of the end. It follows the worker's own.
const EXITED: &str = "worker.exited";

/// Publishes the events of a worker.
#[derive(Debug)]
pub struct Lifecycle {
    worker: Arc<WorkerState>,
    observer: Observer,
}

impl Lifecycle {
    /// For this worker.
    pub fn new(worker: Arc<WorkerState>, observer: Observer) -> Self {
        Self { worker, observer }
    }

    /// Publishes that the worker has been started.
    pub fn publish_start(&self) {
        self.observer.publish([self.event(STARTED)]);
    }

    /// Publishes how the worker has ended. `output` is the end of its stderr, if that is to be published.
    pub fn publish_end(&self, output: Option<LastBytes>) {
        let Some(End { exit, reason, usage, oom_kills }) = self.worker.end() else { return };
        let (key, number) = match exit {
            Exit::Code(code) => ("exit_code", code),
            Exit::Signal(signal) => ("signal", signal),
        };
        let mut event = self.event(EXITED);
        let output = output.filter(|_| exit != Exit::Code(0)).map(LastBytes::take);
        let output = output.map(|(bytes, is_cut)| last_lines(&bytes, is_cut));
        if let Some(output) = output.filter(|output| !output.is_empty()) {
            event = event.described("output", output);
        }
        if oom_kills > 0 {
            event = event.measured("oom_kills", integer(oom_kills.into()));
        }
        self.observer.publish([event
            .measured(key, Value::IntValue(number.into()))
            .measured("duration", nanoseconds(self.worker.run_time()))
            .measured("cpu", nanoseconds(usage.cpu()))
            .measured("max_rss_bytes", integer(usage.max_rss_bytes.into()))
            .described("reason", reason.as_str())]);
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
