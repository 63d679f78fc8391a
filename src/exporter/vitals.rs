//! The metrics of `--vitals`, for Prometheus and OTLP. StatsD makes them of the events.
//!
//! Names, units and instruments are those of OpenTelemetry's semantic conventions
//! (<https://opentelemetry.io/docs/specs/semconv/system/process-metrics/>, release candidates). They describe
//! one process; here they are sums over the worker and its descendants. What the conventions do not have is
//! in the sidecar's own namespace.

use super::number::Number;
use crate::worker::vitals::Sample;
use std::time::Duration;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// A sum that only grows.
    Counter,
    /// A sum that goes up and down: those of several workers can be added up.
    UpDownCounter,
    /// A value.
    Gauge,
}

/// A metric at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The name.
    pub name: &'static str,
    /// The unit, as UCUM has it.
    pub unit: &'static str,
    /// The kind.
    pub instrument: Instrument,
    /// What it is.
    pub description: &'static str,
    /// The values, each with its attribute, if it has one.
    pub points: Vec<(Option<Attribute>, Number)>,
}

/// Key and value of an attribute.
pub type Attribute = (&'static str, &'static str);

/// All metrics of a sample of a worker that has run for this time, in the order of their names. After the
/// worker's end there is only the processor time.
pub fn readings(Sample { cpu, usage }: Sample, run_time: Duration) -> Vec<Reading> {
    let modes = [("user", cpu.user), ("system", cpu.system)];
    let mut all = vec![Reading {
        name: "process.cpu.time",
        unit: "s",
        instrument: Instrument::Counter,
        description: "Processor time of the worker and its descendants, ended ones included.",
        points: modes.map(|(mode, time)| (Some(("cpu.mode", mode)), time.as_secs_f64().into())).into(),
    }];
    let Some(usage) = usage else { return all };
    let mut sum = |name, unit, description, value: u64| {
        let (instrument, points) = (Instrument::UpDownCounter, vec![(None, value.into())]);
        all.push(Reading { name, unit, instrument, description, points });
    };
    let help = "Resident memory of the worker and its descendants. Shared pages count once for each process.";
    sum("process.memory.usage", "By", help, usage.rss_bytes);
    let help = "Virtual memory of the worker and its descendants.";
    sum("process.memory.virtual", "By", help, usage.vms_bytes);
    let help = "Threads of the worker and its descendants.";
    sum("process.thread.count", "{thread}", help, usage.threads);
    let help = "Open descriptors of the worker and its descendants.";
    sum("process.unix.file_descriptor.count", "{file_descriptor}", help, usage.fds);
    let help = "Resident memory of the worker and its descendants, with shared pages divided between them.";
    if let Some(bytes) = usage.pss_bytes {
        sum("telemetry_sidecar.worker.memory.pss", "By", help, bytes);
    }
    let help = "Memory of the worker and its descendants in swap.";
    sum("telemetry_sidecar.worker.memory.swap", "By", help, usage.swap_bytes);
    let help = "Processes: the worker and its descendants.";
    sum("telemetry_sidecar.worker.processes", "{process}", help, usage.processes);
    all.push(Reading {
        name: "process.uptime",
        unit: "s",
        instrument: Instrument::Gauge,
        description: "How long the worker has run.",
        points: vec![(None, run_time.as_secs_f64().into())],
    });
    all.sort_by_key(|reading| reading.name);
    all
}
