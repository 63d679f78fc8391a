//! Samples as events.

use super::super::{
    Observation,
    names::{CPU_SAMPLED, MEMORY_SAMPLED, PROCESS_SAMPLED},
};
use crate::{event::proto::bridge::telemetry_value::Value, worker::vitals::Resources};

/// The names of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// All of them start with `worker.`.
    Own,
    /// Names and measurements that are in Snakepit's catalog, where it has them.
    Snakepit,
}

impl Naming {
    /// The events of a sample of this worker. Without the parts that are missing.
    pub(super) fn events(
        self,
        worker: u32,
        usage: Option<&Resources>,
        cpu_percent: Option<f64>,
    ) -> Vec<Observation> {
        let (memory, cpu) = match self {
            Self::Own => (MEMORY_SAMPLED, CPU_SAMPLED),
            Self::Snakepit => ("python.memory.sampled", "python.cpu.sampled"),
        };
        let event = |name| Observation::new(name).described("worker_pid", worker.to_string());
        let mut events = Vec::new();
        if let Some(usage) = usage {
            let base = event(memory)
                .measured("rss_bytes", int(usage.rss_bytes))
                .measured("vms_bytes", int(usage.vms_bytes));
            // Snakepit drops an event with a measurement that it does not know.
            let more = match self {
                Self::Own => base,
                Self::Snakepit => {
                    events.push(base);
                    event(MEMORY_SAMPLED)
                }
            };
            let more = more.measured("swap_bytes", int(usage.swap_bytes));
            // Beside newer numbers an old one would look like memory that is shared.
            events.push(match usage.pss_bytes.filter(|_| usage.is_pss_new) {
                Some(pss) => more.measured("pss_bytes", int(pss)),
                None => more,
            });
        }
        if let Some(percent) = cpu_percent {
            let hundredths = (percent * 100.0).round() / 100.0;
            events.push(event(cpu).measured("cpu_percent", Value::FloatValue(hundredths)));
        }
        if let Some(usage) = usage {
            events.push(
                event(PROCESS_SAMPLED)
                    .measured("threads", int(usage.threads))
                    .measured("fds", int(usage.fds))
                    .measured("processes", int(usage.processes)),
            );
        }
        events
    }
}

fn int(number: u64) -> Value {
    Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of events with their measurements.
    fn names(naming: Naming, usage: Option<&Resources>, cpu_percent: Option<f64>) -> Vec<String> {
        let events = naming.events(7, usage, cpu_percent);
        let name = |event: &Observation| {
            assert_eq!(event.metadata["worker_pid"], "7");
            let keys: Vec<_> = event.measurements.keys().map(String::as_str).collect();
            format!("{} {}", event.name, keys.join(" "))
        };
        events.iter().map(name).collect()
    }

    #[test]
    fn each_sample_has_an_event_of_memory_of_processor_time_and_of_processes() {
        let usage = Resources { pss_bytes: Some(1), is_pss_new: true, ..Resources::default() };
        let all = names(Naming::Own, Some(&usage), Some(1.0));
        let expected = [
            "worker.memory.sampled pss_bytes rss_bytes swap_bytes vms_bytes",
            "worker.cpu.sampled cpu_percent",
            "worker.process.sampled fds processes threads",
        ];
        assert_eq!(all, expected);
        let first = names(Naming::Own, Some(&Resources::default()), None);
        assert_eq!(first, ["worker.memory.sampled rss_bytes swap_bytes vms_bytes", expected[2]]);
        let kept = Resources { is_pss_new: false, ..usage };
        assert_eq!(names(Naming::Own, Some(&kept), None), first);
        assert_eq!(names(Naming::Own, None, Some(1.0)), [expected[1]]);
    }

    #[test]
    fn snakepit_knows_all_measurements_of_the_events_that_it_knows() {
        let usage = Resources { pss_bytes: Some(1), is_pss_new: true, ..Resources::default() };
        let expected = [
            "python.memory.sampled rss_bytes vms_bytes",
            "worker.memory.sampled pss_bytes swap_bytes",
            "python.cpu.sampled cpu_percent",
            "worker.process.sampled fds processes threads",
        ];
        assert_eq!(names(Naming::Snakepit, Some(&usage), Some(1.0)), expected);
    }
}
