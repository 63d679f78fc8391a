//! Aggregated samples as OpenTelemetry's metrics.
//!
//! A metric's name is `snakepit.` and the dotted name; labels are attributes. The unit of durations is `s`,
//! that of the count of events `{event}`; other units are not known.

use super::proto::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
        Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    },
};
use super::{
    attributes::{MAX_NAME_BYTES, MAX_VALUE_BYTES},
    endpoint::Destination,
    request::{Items, Request, Room},
    waiting::ITEMS,
    wire,
};
use crate::exporter::{
    event::cut,
    metrics::{
        PREFIX,
        aggregate::{self, Labels, Point, Series},
        exponential, histogram,
    },
    number::Number,
};
use prost::Message as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a data point adds to a request besides its encoding: a tag and a length.
const OVERHEAD_BYTES: usize = 8;

/// The time that values refer to.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// The end.
    pub now: SystemTime,
    /// The start for delta temporality. With cumulative temporality each series has its own start.
    pub since: Option<SystemTime>,
}

impl Interval {
    /// The start of a series. If the clock was set back a delta starts at its end, because it cannot start
    /// later. A cumulative series keeps its start: with another one it would be another series.
    fn start_ns(self, series: &Series) -> u64 {
        nanoseconds(self.since.map_or(series.since, |since| since.min(self.now)))
    }

    fn temporality(self) -> i32 {
        let temporality = match self.since {
            Some(_) => AggregationTemporality::Delta,
            None => AggregationTemporality::Cumulative,
        };
        temporality.into()
    }
}

/// The requests for aggregated metrics and a few others: as many as their size needs.
pub fn requests(
    metrics: &aggregate::Metrics,
    others: Vec<Metric>,
    interval: Interval,
    resource: &[u8],
    destination: &Destination,
) -> Vec<Request> {
    let mut packer = Packer {
        room: Room::beside(resource),
        resource,
        destination,
        points: others.iter().map(point_count).sum(),
        bytes: others.iter().map(|metric| metric.encoded_len() + OVERHEAD_BYTES).sum(),
        metrics: others,
        done: Vec::new(),
    };
    for (name, metric) in metrics.iter() {
        let Some(first) = metric.series.values().next() else { continue };
        let shell = shell(name, metric.seconds, &first.point, interval);
        packer.start(&shell);
        for (labels, series) in metric.series.iter() {
            packer.add(&shell, point(labels, series, interval));
        }
    }
    packer.flush();
    packer.done
}

struct Packer<'a> {
    room: Room,
    resource: &'a [u8],
    destination: &'a Destination,
    metrics: Vec<Metric>,
    points: u64,
    bytes: usize,
    done: Vec<Request>,
}

impl Packer<'_> {
    fn start(&mut self, shell: &Metric) {
        self.bytes += shell.encoded_len() + OVERHEAD_BYTES;
        self.metrics.push(shell.clone());
    }

    /// Adds a point to the last metric, in a new request if the current one is full.
    fn add(&mut self, shell: &Metric, point: DataPoint) {
        let size = point.encoded_len() + OVERHEAD_BYTES;
        if self.bytes + size > self.room.items && self.points > 0 {
            self.flush();
            self.start(shell);
        }
        self.bytes += size;
        self.points += 1;
        if let Some(data) = self.metrics.last_mut().and_then(|metric| metric.data.as_mut()) {
            match (data, point) {
                (Data::Gauge(gauge), DataPoint::Number(point)) => gauge.data_points.push(point),
                (Data::Sum(sum), DataPoint::Number(point)) => sum.data_points.push(point),
                (Data::Histogram(histogram), DataPoint::Histogram(point)) => {
                    histogram.data_points.push(point);
                }
                (Data::ExponentialHistogram(histogram), DataPoint::Exponential(point)) => {
                    histogram.data_points.push(point);
                }
                // All series of a metric are of one kind.
                _ => self.points -= 1,
            }
        }
    }

    fn flush(&mut self) {
        let metrics = std::mem::take(&mut self.metrics);
        if self.points > 0 {
            let mut items = Items::new(self.room.front, self.bytes);
            for metric in metrics {
                wire::length(&mut items.buffer, ITEMS, metric.encoded_len());
                // There is always room in a Vec.
                let _ = metric.encode(&mut items.buffer);
            }
            (items.items, items.records) = (self.points, self.points);
            self.done.push(Request::new(items, self.resource, self.destination));
        }
        self.points = 0;
        self.bytes = 0;
    }
}

/// How many points a metric has that is a sum or a gauge.
fn point_count(metric: &Metric) -> u64 {
    let points = match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        _ => 0,
    };
    points as u64
}

enum DataPoint {
    Number(NumberDataPoint),
    Histogram(HistogramDataPoint),
    Exponential(ExponentialHistogramDataPoint),
}

impl DataPoint {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Number(point) => point.encoded_len(),
            Self::Histogram(point) => point.encoded_len(),
            Self::Exponential(point) => point.encoded_len(),
        }
    }
}

/// A metric of this kind of points, without them.
fn shell(name: &str, seconds: bool, point: &Point, interval: Interval) -> Metric {
    let aggregation_temporality = interval.temporality();
    let data = match point {
        Point::Counter(_) => {
            Data::Sum(Sum { aggregation_temporality, is_monotonic: true, data_points: Vec::new() })
        }
        Point::Gauge(..) => Data::Gauge(Gauge::default()),
        Point::Histogram(_) => {
            Data::Histogram(Histogram { aggregation_temporality, data_points: Vec::new() })
        }
        Point::Exponential(_) => Data::ExponentialHistogram(ExponentialHistogram {
            aggregation_temporality,
            data_points: Vec::new(),
        }),
    };
    let unit = match name {
        "events" => "{event}",
        _ if seconds => "s",
        _ => "",
    };
    Metric {
        name: format!("{PREFIX}.{}", cut(name, MAX_NAME_BYTES)),
        unit: unit.into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn point(labels: &Labels, series: &Series, interval: Interval) -> DataPoint {
    let attributes = attributes(labels);
    let start_time_unix_nano = interval.start_ns(series);
    let time_unix_nano = nanoseconds(interval.now);
    let number = |value, start_time_unix_nano, attributes| {
        DataPoint::Number(NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            value: Some(match value {
                Number::Int(int) => number_data_point::Value::AsInt(int),
                Number::Float(float) => number_data_point::Value::AsDouble(float),
            }),
            ..NumberDataPoint::default()
        })
    };
    match &series.point {
        Point::Counter(sum) => number(*sum, start_time_unix_nano, attributes),
        Point::Gauge(value, _) => number(*value, 0, attributes),
        Point::Histogram(histogram) => DataPoint::Histogram(HistogramDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            count: histogram.count(),
            sum: Some(histogram.sum),
            bucket_counts: histogram.buckets.clone(),
            explicit_bounds: histogram.bounds.to_vec(),
            exemplars: histogram.exemplars.iter().flatten().map(exemplar).collect(),
            min: Some(histogram.min),
            max: Some(histogram.max),
            ..HistogramDataPoint::default()
        }),
        Point::Exponential(histogram) => DataPoint::Exponential(ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            count: histogram.count(),
            sum: Some(histogram.sum),
            scale: histogram.scale,
            zero_count: histogram.zeros,
            positive: Some(buckets(&histogram.positive)),
            negative: Some(buckets(&histogram.negative)),
            exemplars: histogram.exemplars().map(exemplar).collect(),
            min: Some(histogram.min),
            max: Some(histogram.max),
            ..ExponentialHistogramDataPoint::default()
        }),
    }
}

fn buckets(buckets: &exponential::Buckets) -> Buckets {
    Buckets { offset: buckets.offset, bucket_counts: buckets.counts.clone() }
}

fn exemplar(exemplar: &histogram::Exemplar) -> Exemplar {
    Exemplar {
        time_unix_nano: u64::try_from(exemplar.timestamp_ns).unwrap_or_default(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        trace_id: exemplar.trace_id.to_vec(),
        span_id: exemplar.span_id.to_vec(),
        ..Exemplar::default()
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let attribute = |(key, value): &(std::borrow::Cow<'static, str>, String)| KeyValue {
        key: key.to_string(),
        // The specification defines the overflow attribute as a boolean.
        value: Some(AnyValue {
            value: Some(if key == aggregate::OVERFLOW_LABEL.0 {
                any_value::Value::BoolValue(true)
            } else {
                any_value::Value::StringValue(cut(value, MAX_VALUE_BYTES).to_owned())
            }),
        }),
        ..KeyValue::default()
    };
    labels.iter().map(attribute).collect()
}

/// Since the Unix epoch.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
