//! The metrics of `--vitals` on the page, under the names that OpenTelemetry's become in Prometheus
//! (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>).

use super::{names::OWN_PREFIX, page::Page};
use crate::{
    exporter::{
        metrics::sample::Kind,
        vitals::{Instrument, Reading, readings},
    },
    worker::state::WorkerState,
};

/// The families that do not have the prefix of the sidecar's own.
pub(super) const FAMILIES: [(&str, Kind); 6] = [
    ("process_cpu_time_seconds", Kind::Counter),
    ("process_memory_usage_bytes", Kind::Gauge),
    ("process_memory_virtual_bytes", Kind::Gauge),
    ("process_thread_count", Kind::Gauge),
    ("process_unix_file_descriptor_count", Kind::Gauge),
    ("process_uptime_seconds", Kind::Gauge),
];

/// Writes the families of a worker whose vitals are sampled, in the order of their names: those that have the
/// prefix of the sidecar's own, or the others.
pub(super) fn write(worker: &WorkerState, page: &mut Page, own: bool) {
    let Some(vitals) = worker.vitals() else { return };
    let Some(sample) = vitals.latest() else { return };
    for reading in readings(sample, worker.run_time()) {
        let (name, kind) = family(&reading);
        if name.starts_with(OWN_PREFIX) != own {
            continue;
        }
        let mut family = page.family(&name, kind, reading.description);
        for (attribute, value) in &reading.points {
            let labels: Vec<_> = attribute.iter().map(|(key, value)| (underscores(key), value)).collect();
            match kind {
                Kind::Counter => family.counter(&labels, *value, vitals.since()),
                _ => drop(family.series(&labels, *value)),
            }
        }
    }
}

/// The name, which ends with the unit unless that is a mere annotation, and the kind. A counter's `_total` is
/// added by the page.
fn family(reading: &Reading) -> (String, Kind) {
    let unit = match reading.unit {
        "By" => "_bytes",
        "s" => "_seconds",
        _ => "",
    };
    let kind = match reading.instrument {
        Instrument::Counter => Kind::Counter,
        Instrument::UpDownCounter | Instrument::Gauge => Kind::Gauge,
    };
    (underscores(reading.name) + unit, kind)
}

fn underscores(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exporter::prometheus::page::Format,
        worker::vitals::{CpuTime, Resources, Sample},
    };
    use std::time::Duration;

    fn page(usage: Option<Resources>) -> String {
        let worker = WorkerState::new("worker".as_ref()).with_vitals(true);
        let mut page = Page::new(Format::Text);
        write(&worker, &mut page, false);
        assert_eq!(page.finish(), "", "before the first sample");
        let cpu = CpuTime { user: Duration::from_millis(1_500), system: Duration::from_secs(2) };
        worker.vitals().unwrap().set(Sample { cpu, usage });
        let mut page = Page::new(Format::Text);
        write(&worker, &mut page, false);
        write(&worker, &mut page, true);
        page.finish()
    }

    #[test]
    fn names_are_those_of_the_conventions_with_units() {
        let usage = Resources {
            rss_bytes: 1,
            vms_bytes: 2,
            pss_bytes: Some(3),
            is_pss_new: true,
            swap_bytes: 4,
            threads: 5,
            fds: 6,
            processes: 7,
        };
        let page = page(Some(usage));
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "process_cpu_time_seconds_total{cpu_mode=\"user\"} 1.5",
            "process_cpu_time_seconds_total{cpu_mode=\"system\"} 2",
            "process_memory_usage_bytes 1",
            "process_memory_virtual_bytes 2",
            "process_thread_count 5",
            "process_unix_file_descriptor_count 6",
            "process_uptime_seconds 0",
            "telemetry_sidecar_worker_memory_pss_bytes 3",
            "telemetry_sidecar_worker_memory_swap_bytes 4",
            "telemetry_sidecar_worker_processes 7",
        ];
        assert_eq!(samples, expected);
        let foreign = |name: &&str| !name.starts_with(OWN_PREFIX);
        let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let families: Vec<_> = families.map(|name| name.trim_end_matches("_total")).filter(foreign).collect();
        assert_eq!(families, FAMILIES.map(|(name, _)| name), "all of them are reserved");
    }

    #[test]
    fn after_the_end_only_processor_time_is_left() {
        let page = page(None);
        assert_eq!(page.matches("# TYPE").count(), 1);
        assert!(page.contains("process_cpu_time_seconds_total{cpu_mode=\"system\"} 2"), "{page}");
    }
}
