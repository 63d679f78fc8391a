//! The metrics of `--vitals`.

use super::{
    metrics::{Interval, nanoseconds},
    proto::{
        common::v1::{AnyValue, KeyValue, any_value},
        metrics::v1::{
            AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum, metric::Data, number_data_point,
        },
    },
};
use crate::{
    exporter::{
        number::Number,
        vitals::{Attribute, Instrument, Reading, readings},
    },
    worker::{
        state::WorkerState,
        vitals::{CpuTime, Sample},
    },
};
use std::{sync::Arc, time::SystemTime};

/// Makes metrics of samples.
#[derive(Debug)]
pub struct VitalsMetrics {
    worker: Option<Arc<WorkerState>>,
    /// What the worker had used of processors at the end of the last interval, if temporality is delta.
    used: CpuTime,
}

impl VitalsMetrics {
    /// For this worker, if there is one.
    pub fn new(worker: Option<Arc<WorkerState>>) -> Self {
        Self { worker, used: CpuTime::default() }
    }

    /// The metrics at the end of an interval. There are none unless the worker's vitals are sampled.
    pub fn collect(&mut self, interval: Interval) -> Vec<Metric> {
        let Some(worker) = &self.worker else { return Vec::new() };
        let Some(vitals) = worker.vitals() else { return Vec::new() };
        let Some(sample) = vitals.latest() else { return Vec::new() };
        let used = Sample { cpu: sample.cpu.minus(self.used), ..sample };
        if interval.since.is_some() {
            self.used = sample.cpu;
        }
        let readings = readings(used, worker.run_time()).into_iter();
        readings.map(|reading| metric(&reading, vitals.since(), interval)).collect()
    }
}

/// A metric whose cumulative sums have started at this time.
fn metric(reading: &Reading, since: SystemTime, interval: Interval) -> Metric {
    let data_points =
        |start| reading.points.iter().map(|point| point_at(point, start, interval.now)).collect();
    // Sums that go up and down are cumulative in any case.
    let sum = |start, temporality: AggregationTemporality, is_monotonic| {
        let aggregation_temporality = temporality.into();
        Data::Sum(Sum { data_points: data_points(Some(start)), aggregation_temporality, is_monotonic })
    };
    let data = match (reading.instrument, interval.since) {
        (Instrument::Gauge, _) => Data::Gauge(Gauge { data_points: data_points(None) }),
        (Instrument::UpDownCounter, _) => sum(since, AggregationTemporality::Cumulative, false),
        (Instrument::Counter, None) => sum(since, AggregationTemporality::Cumulative, true),
        (Instrument::Counter, Some(last)) => sum(last.min(interval.now), AggregationTemporality::Delta, true),
    };
    Metric {
        name: reading.name.into(),
        unit: reading.unit.into(),
        description: reading.description.into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn point_at(
    (attribute, value): &(Option<Attribute>, Number),
    start: Option<SystemTime>,
    now: SystemTime,
) -> NumberDataPoint {
    let attribute = attribute.map(|(key, value)| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) }),
        ..KeyValue::default()
    });
    NumberDataPoint {
        attributes: attribute.into_iter().collect(),
        start_time_unix_nano: start.map_or(0, nanoseconds),
        time_unix_nano: nanoseconds(now),
        value: Some(match *value {
            Number::Int(int) => number_data_point::Value::AsInt(int),
            Number::Float(float) => number_data_point::Value::AsDouble(float),
        }),
        ..NumberDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::vitals::Resources;
    use std::time::Duration;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(now: u64, since: Option<u64>) -> Interval {
        let time = |seconds| NOW + Duration::from_secs(seconds);
        Interval { now: time(now), since: since.map(time) }
    }

    /// The metrics of a worker that has used this many seconds of processors.
    struct Worker(Arc<WorkerState>, VitalsMetrics);

    impl Worker {
        fn new() -> Self {
            let worker = Arc::new(WorkerState::new("worker".as_ref()).with_vitals(true));
            let mut vitals = VitalsMetrics::new(Some(Arc::clone(&worker)));
            assert!(vitals.collect(at(1, None)).is_empty(), "before the first sample");
            Self(worker, vitals)
        }

        fn collect(&mut self, user: u64, interval: Interval) -> impl Fn(&str) -> Metric + use<> {
            let cpu = CpuTime { user: Duration::from_secs(user), system: Duration::from_secs(2) };
            let usage = Some(Resources { rss_bytes: 7, ..Resources::default() });
            self.0.vitals().unwrap().set(Sample { cpu, usage });
            let all = self.1.collect(interval);
            move |name| all.iter().find(|metric| metric.name == name).unwrap().clone()
        }
    }

    fn sum(metric: Metric) -> Sum {
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        sum
    }

    fn doubles(sum: &Sum) -> Vec<f64> {
        let double = |point: &NumberDataPoint| match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            _ => panic!("{point:?}"),
        };
        sum.data_points.iter().map(double).collect()
    }

    #[test]
    fn processor_time_is_a_sum_of_each_mode() {
        let mut worker = Worker::new();
        for (user, expected) in [(5, [5.0, 2.0]), (6, [6.0, 2.0])] {
            let time = sum(worker.collect(user, at(2, None))("process.cpu.time"));
            assert!(time.is_monotonic);
            assert_eq!(time.aggregation_temporality(), AggregationTemporality::Cumulative);
            assert_eq!(doubles(&time), expected);
            assert_eq!(time.data_points[0].attributes[0].key, "cpu.mode");
            let since = nanoseconds(worker.0.vitals().unwrap().since());
            assert_eq!(time.data_points[0].start_time_unix_nano, since);
        }
    }

    #[test]
    fn deltas_of_processor_time_add_up() {
        let mut worker = Worker::new();
        for (user, expected) in [(5, [5.0, 2.0]), (5, [0.0, 0.0]), (8, [3.0, 0.0])] {
            let time = sum(worker.collect(user, at(3, Some(2)))("process.cpu.time"));
            assert_eq!(time.aggregation_temporality(), AggregationTemporality::Delta);
            assert_eq!(doubles(&time), expected);
            assert_eq!(time.data_points[0].start_time_unix_nano, 2_000_000_000);
        }
    }

    #[test]
    fn sums_that_go_up_and_down_are_cumulative_in_any_case() {
        for interval in [at(3, None), at(3, Some(2))] {
            let by_name = Worker::new().collect(5, interval);
            let metric = by_name("process.memory.usage");
            assert_eq!(metric.unit, "By");
            let memory = sum(metric);
            assert!(!memory.is_monotonic);
            assert_eq!(memory.aggregation_temporality(), AggregationTemporality::Cumulative);
            assert_eq!(memory.data_points[0].value, Some(number_data_point::Value::AsInt(7)));
            let uptime = by_name("process.uptime");
            assert!(matches!(uptime.data, Some(Data::Gauge(_))), "{uptime:?}");
        }
    }
}
