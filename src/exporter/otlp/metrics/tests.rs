//! What metrics look like on the wire.

use super::*;
use crate::exporter::otlp::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use crate::exporter::{
    metrics::{
        aggregate::{self, Aggregator, Histograms},
        buckets,
        sample::{Kind, Sample, Subject},
    },
    otlp::environment::Environment,
};
use std::time::Duration;

fn destination() -> Destination {
    Environment::read(Some(&"http://a:4318".parse().unwrap()), false, &|_| None).0.metrics
}

fn aggregator(max_series: usize) -> Aggregator {
    Aggregator::new(max_series, Histograms::Explicit(buckets::Buckets::default()))
}

fn measurement(key: &str, kind: Kind, value: impl Into<Number>) -> Sample<'_> {
    Sample { subject: Subject::Measurement { operation: "a.b", key }, kind, value: value.into() }
}

/// The metrics in each request, and what the requests say they have.
fn sent(aggregator: &Aggregator, since: Option<SystemTime>) -> Vec<(Vec<Metric>, u64)> {
    let now = UNIX_EPOCH + Duration::from_secs(1_000);
    let resource = Vec::new();
    let requests =
        requests(aggregator.metrics(), Vec::new(), Interval { now, since }, &resource, &destination());
    let decode = |request: &Request| {
        assert!(request.body.len() < 4 * 1024 * 1024, "{} bytes", request.body.len());
        let mut message = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
        (message.resource_metrics.remove(0).scope_metrics.remove(0).metrics, request.items)
    };
    requests.iter().map(decode).collect()
}

fn points(metric: &Metric) -> usize {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => gauge.data_points.len(),
        Data::Sum(sum) => sum.data_points.len(),
        Data::Histogram(histogram) => histogram.data_points.len(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.len(),
        Data::Summary(_) => panic!("{metric:?}"),
    }
}

#[test]
fn each_kind_is_what_opentelemetry_calls_it() {
    let mut aggregator = aggregator(10);
    let labels = || [("tool", "x")].into_iter();
    let exemplar = histogram::Exemplar { value: 0.2, timestamp_ns: 7, trace_id: [1; 16], span_id: [2; 8] };
    let duration = Subject::Duration { operation: "a.b", failed: true };
    aggregator.add(
        &Sample { subject: duration, kind: Kind::Histogram, value: 0.2.into() },
        labels(),
        7,
        Some(exemplar),
    );
    aggregator.add(
        &Sample { subject: Subject::Event("a.b.stop"), kind: Kind::Counter, value: Number::Int(1) },
        labels(),
        7,
        None,
    );
    aggregator.add(&measurement("rss", Kind::Gauge, -1.5), labels(), 7, None);
    let [(metrics, 3)] = &sent(&aggregator, None)[..] else { panic!("not one request of three points") };
    let [gauge, events, durations] = &metrics[..] else { panic!("{metrics:#?}") };

    assert_eq!((gauge.name.as_str(), gauge.unit.as_str()), ("snakepit.a.b.rss", ""));
    let Some(Data::Gauge(Gauge { data_points })) = &gauge.data else { panic!("{gauge:?}") };
    assert_eq!(data_points[0].value, Some(number_data_point::Value::AsDouble(-1.5)));
    assert_eq!(data_points[0].time_unix_nano, 1_000_000_000_000);
    assert_eq!(data_points[0].attributes[0].key, "tool");

    assert_eq!((events.name.as_str(), events.unit.as_str()), ("snakepit.events", "{event}"));
    let Some(Data::Sum(sum)) = &events.data else { panic!("{events:?}") };
    assert!(sum.is_monotonic);
    assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(1)));
    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
    assert!(sum.data_points[0].start_time_unix_nano > 0);

    assert_eq!((durations.name.as_str(), durations.unit.as_str()), ("snakepit.operation.duration", "s"));
    let Some(Data::Histogram(histogram)) = &durations.data else { panic!("{durations:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.min, point.max), (1, Some(0.2), Some(0.2), Some(0.2)));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    let [exemplar] = &point.exemplars[..] else { panic!("{point:?}") };
    assert_eq!((&exemplar.trace_id[..], &exemplar.span_id[..]), (&[1; 16][..], &[2; 8][..]));
    assert_eq!((exemplar.time_unix_nano, &exemplar.value), (7, &Some(exemplar::Value::AsDouble(0.2))));
}

#[test]
fn integers_are_sent_as_integers_until_a_double_comes() {
    use number_data_point::Value::{AsDouble, AsInt};
    let mut aggregator = aggregator(10);
    let mut values_after = |value: Number| {
        for (key, kind) in [("n", Kind::Counter), ("rss", Kind::Gauge)] {
            aggregator.add(&measurement(key, kind, value), std::iter::empty(), 0, None);
        }
        let (metrics, _) = sent(&aggregator, None).remove(0);
        let [Some(Data::Sum(sum)), Some(Data::Gauge(gauge))] = [&metrics[0].data, &metrics[1].data] else {
            panic!("{metrics:?}")
        };
        [sum.data_points[0].value.unwrap(), gauge.data_points[0].value.unwrap()]
    };
    let large = 1 << 53;
    assert_eq!(values_after(Number::Int(large)), [AsInt(large), AsInt(large)]);
    assert_eq!(values_after(Number::Int(1)), [AsInt(large + 1), AsInt(1)]);
    assert_eq!(values_after(Number::Float(2.5))[1], AsDouble(2.5));
    assert_eq!(values_after(Number::Int(3))[1], AsDouble(3.0));
}

#[test]
fn exponential_histograms_have_buckets_of_both_signs() {
    let mut aggregator = Aggregator::new(10, Histograms::Exponential);
    let exemplar = histogram::Exemplar { value: 4.0, timestamp_ns: 7, trace_id: [1; 16], span_id: [2; 8] };
    for value in [-2.0, 0.0, 1.0, 4.0] {
        let sample = measurement("spread", Kind::Histogram, value);
        let exemplar = (value > 1.0).then_some(exemplar);
        aggregator.add(&sample, [("tool", "x")].into_iter(), 7, exemplar);
    }
    let [(metrics, 1)] = &sent(&aggregator, None)[..] else { panic!("not one request of one point") };
    let Some(Data::ExponentialHistogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
    assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Cumulative);
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.zero_count, point.scale), (4, 1, 6));
    assert_eq!((point.sum, point.min, point.max), (Some(3.0), Some(-2.0), Some(4.0)));
    assert_eq!(point.negative, Some(Buckets { offset: 63, bucket_counts: vec![1] }));
    let mut counts = vec![0; 129];
    (counts[0], counts[128]) = (1, 1);
    assert_eq!(point.positive, Some(Buckets { offset: -1, bucket_counts: counts }));
    assert_eq!((point.exemplars.len(), point.attributes[0].key.as_str()), (1, "tool"));
    assert!(point.start_time_unix_nano > 0 && point.time_unix_nano == 1_000_000_000_000);
}

#[test]
fn deltas_begin_where_the_last_ones_ended() {
    let mut aggregator = aggregator(10);
    aggregator.add(&measurement("n", Kind::Counter, 2.0), std::iter::empty(), 0, None);
    let (metrics, _) = sent(&aggregator, Some(UNIX_EPOCH + Duration::from_secs(940))).remove(0);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Delta);
    assert_eq!(sum.data_points[0].start_time_unix_nano, 940_000_000_000);
}

#[test]
fn a_clock_set_back_makes_no_delta_start_after_its_end() {
    let mut aggregator = aggregator(10);
    aggregator.add(&measurement("n", Kind::Counter, 2.0), std::iter::empty(), 0, None);
    let (metrics, _) = sent(&aggregator, Some(UNIX_EPOCH + Duration::from_secs(4_600))).remove(0);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
    assert_eq!(sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano);
}

#[test]
fn the_overflow_attribute_is_a_boolean() {
    let mut aggregator = aggregator(1);
    for user in ["x", "y"] {
        aggregator.add(&measurement("n", Kind::Counter, 2.0), [("user", user)].into_iter(), 0, None);
    }
    let (metrics, _) = sent(&aggregator, None).remove(0);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
    let overflow = sum.data_points.iter().find(|point| point.attributes[0].key == "otel.metric.overflow");
    let value = overflow.unwrap().attributes[0].value.clone().unwrap().value;
    assert_eq!(value, Some(any_value::Value::BoolValue(true)));
}

#[test]
fn many_points_go_in_several_requests() {
    let mut aggregator = aggregator(100_000);
    let text = "x".repeat(100);
    for number in 0..40_000 {
        let user = format!("{number}-{text}");
        aggregator.add(&measurement("n", Kind::Counter, 2.0), [("user", user.as_str())].into_iter(), 0, None);
    }
    aggregator.add(&measurement("o", Kind::Gauge, 2.0), std::iter::empty(), 0, None);
    let sent = sent(&aggregator, None);
    assert!(sent.len() > 1, "{} requests", sent.len());
    for (metrics, items) in &sent {
        assert_eq!(metrics.iter().map(points).sum::<usize>() as u64, *items);
    }
    assert_eq!(sent.iter().map(|(_, items)| items).sum::<u64>(), 40_001);
    assert!(
        super::requests(
            &aggregate::Metrics::default(),
            Vec::new(),
            Interval { now: UNIX_EPOCH, since: None },
            &[],
            &destination()
        )
        .is_empty()
    );
}
