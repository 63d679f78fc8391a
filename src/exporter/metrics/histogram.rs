//! Histograms with explicit buckets.

use super::buckets::Bounds;

/// One sample of a histogram with its trace and span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The sample's value.
    pub value: f64,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: i64,
    /// The trace id.
    pub trace_id: [u8; 16],
    /// The span id.
    pub span_id: [u8; 8],
}

/// A distribution over buckets with given bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The upper bounds of all buckets but the last one, which has none.
    pub bounds: Bounds,
    /// The number of samples in each bucket, not cumulative.
    pub buckets: Vec<u64>,
    /// The latest exemplar of each bucket.
    pub exemplars: Vec<Option<Exemplar>>,
    /// The sum of all samples.
    pub sum: f64,
    /// The smallest sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
}

impl Histogram {
    /// Without samples.
    pub fn new(bounds: Bounds) -> Self {
        let buckets = bounds.len() + 1;
        Self {
            bounds,
            buckets: vec![0; buckets],
            exemplars: vec![None; buckets],
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// The number of samples.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds a finite sample.
    pub fn add(&mut self, value: f64, exemplar: Option<Exemplar>) {
        // A bucket's upper bound belongs to it, as in Prometheus and OTLP.
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        if let (Some(latest), Some(exemplar)) = (self.exemplars.get_mut(bucket), exemplar) {
            *latest = Some(exemplar);
        }
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}
