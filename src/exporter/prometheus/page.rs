//! A page of metrics in either of the two formats that Prometheus reads.
//!
//! | | text 0.0.4 | OpenMetrics 1.0 |
//! | --- | --- | --- |
//! | a counter's family name | with `_total` | without `_total` |
//! | exemplars | not supported | on histogram buckets |
//! | the start of a series | not supported | `_created` |
//! | last line | none | `# EOF` |
//!
//! Specifications: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.
//!
//! There are no native histograms: only Prometheus' third format, protobuf messages, has them. OTLP's
//! exponential histograms are the same to Prometheus, which accepts OTLP.

use crate::exporter::{
    metrics::{
        histogram::{Exemplar, Histogram},
        sample::Kind,
    },
    number::Number,
};
use memchr::memchr3;
use std::{
    fmt::{self, Display, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4.
    Text,
    /// Version 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes a page, family by family.
#[derive(Debug)]
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Starts a family. `name` is valid, unique on the page and, for a counter, without `_total`.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let (kind, suffix) = match kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
            Kind::Histogram | Kind::Distribution => ("histogram", ""),
        };
        let family_suffix = if self.format == Format::Text { suffix } else { "" };
        let help = Escaped(help, self.format == Format::OpenMetrics);
        self.write(format_args!(
            "# HELP {name}{family_suffix} {help}\n# TYPE {name}{family_suffix} {kind}\n"
        ));
        Family { page: self, name, suffix }
    }

    /// Returns the complete page.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(text);
    }
}

/// Writes the series of one family. Label names are valid, and no two series have the same labels.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
    suffix: &'static str,
}

impl Family<'_> {
    /// Adds a counter or gauge series.
    pub fn series<L: AsRef<str>, V: AsRef<str>>(&mut self, labels: &[(L, V)], value: Number) -> &mut Self {
        self.line(self.suffix, labels, None, value);
        self.page.text.push('\n');
        self
    }

    /// Adds a counter series that starts at this time.
    pub fn counter<L: AsRef<str>, V: AsRef<str>>(
        &mut self,
        labels: &[(L, V)],
        value: Number,
        since: SystemTime,
    ) {
        self.series(labels, value);
        self.created(labels, since);
    }

    /// Adds a histogram series that starts at this time.
    ///
    /// After a negative value it has neither `_sum` nor `_count`: a sum that can decrease is not a counter,
    /// so OpenMetrics does not allow it, and requires both or neither. The `+Inf` bucket still has the count.
    pub fn histogram<L: AsRef<str>, V: AsRef<str>>(
        &mut self,
        labels: &[(L, V)],
        histogram: &Histogram,
        since: SystemTime,
    ) {
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        let mut count = 0;
        for ((bound, bucket), exemplar) in bounds.zip(&histogram.buckets).zip(&histogram.exemplars) {
            count += bucket;
            self.line("_bucket", labels, Some(bound), Number::from(count));
            if let (Format::OpenMetrics, Some(exemplar)) = (self.page.format, exemplar) {
                self.exemplar(exemplar);
            }
            self.page.text.push('\n');
        }
        if histogram.min >= 0.0 {
            self.line("_count", labels, None, Number::from(count));
            self.page.text.push('\n');
            self.line("_sum", labels, None, histogram.sum.into());
            self.page.text.push('\n');
        }
        self.created(labels, since);
    }

    fn created<L: AsRef<str>, V: AsRef<str>>(&mut self, labels: &[(L, V)], since: SystemTime) {
        if self.page.format == Format::OpenMetrics {
            self.labelled("_created", labels, None);
            let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
            self.page.write(format_args!("{}\n", Timestamp(since)));
        }
    }

    fn line<L: AsRef<str>, V: AsRef<str>>(
        &mut self,
        suffix: &str,
        labels: &[(L, V)],
        bound: Option<f64>,
        value: Number,
    ) {
        self.labelled(suffix, labels, bound);
        self.page.write(format_args!("{}", Shown(value)));
    }

    /// The name and the labels of a line, and a space.
    fn labelled<L: AsRef<str>, V: AsRef<str>>(
        &mut self,
        suffix: &str,
        labels: &[(L, V)],
        bound: Option<f64>,
    ) {
        let name = self.name;
        self.page.write(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for (label, value) in labels {
            let value = Escaped(value.as_ref(), true);
            self.page.write(format_args!("{separator}{}=\"{value}\"", label.as_ref()));
            separator = ',';
        }
        if let Some(bound) = bound {
            self.page.write(format_args!("{separator}le=\"{}\"", Bound(bound)));
            separator = ',';
        }
        let end = if separator == ',' { "} " } else { " " };
        self.page.text.push_str(end);
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let trace_id = u128::from_be_bytes(exemplar.trace_id);
        self.page.write(format_args!(" # {{trace_id=\"{trace_id:032x}\""));
        let span_id = u64::from_be_bytes(exemplar.span_id);
        if span_id != 0 {
            self.page.write(format_args!(",span_id=\"{span_id:016x}\""));
        }
        self.page.write(format_args!("}} {}", Shown(exemplar.value.into())));
        if let Some(nanoseconds) = u64::try_from(exemplar.timestamp_ns).ok().filter(|time| *time > 0) {
            self.page.write(format_args!(" {}", Timestamp(Duration::from_nanos(nanoseconds))));
        }
    }
}

/// Formats a sample value. Prometheus' values are doubles; an integer has all its digits nevertheless.
pub(crate) struct Shown(pub(crate) Number);

impl Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.0 {
            Number::Int(int) => return int.fmt(formatter),
            Number::Float(float) => float,
        };
        if value.is_nan() {
            formatter.write_str("NaN")
        } else if value.is_infinite() {
            formatter.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
        } else if value.fract() == 0.0 && value.abs() < 1e15 {
            write!(formatter, "{value}")
        } else {
            // `Debug` switches to an exponent for very large and very small values.
            write!(formatter, "{value:?}")
        }
    }
}

/// Formats a time since the Unix epoch, in seconds.
struct Timestamp(Duration);

impl Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

/// Formats a bucket's bound as OpenMetrics' canonical number, which other clients write as well: `0.0001`,
/// `1e-05`, `100000.0`, `1e+06`. It is the same in both formats, so that both name the same series.
pub(crate) struct Bound(pub(crate) f64);

impl Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_finite() {
            return Shown(self.0.into()).fmt(formatter);
        }
        let scientific = format!("{:e}", self.0);
        let parts = scientific.split_once('e').and_then(|(digits, exponent)| {
            let exponent: i32 = exponent.parse().ok()?;
            (!(-4..6).contains(&exponent)).then_some((digits, exponent))
        });
        match parts {
            Some((digits, exponent)) => write!(formatter, "{digits}e{exponent:+03}"),
            None => write!(formatter, "{:?}", self.0),
        }
    }
}

/// Escapes backslashes and newlines and, if the flag is set, double quotes.
struct Escaped<'a>(&'a str, bool);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, quotes) = *self;
        if memchr3(b'\\', b'\n', b'"', text.as_bytes()).is_none() {
            return formatter.write_str(text);
        }
        for piece in text.split_inclusive(['\\', '\n', '"']) {
            let escape = match piece.as_bytes().last() {
                Some(b'\\') => "\\\\",
                Some(b'\n') => "\\n",
                Some(b'"') if quotes => "\\\"",
                _ => {
                    formatter.write_str(piece)?;
                    continue;
                }
            };
            formatter.write_str(piece.get(..piece.len() - 1).unwrap_or_default())?;
            formatter.write_str(escape)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LABELS: &[(&str, &str)] = &[];

    #[test]
    fn values_and_bounds_are_formatted_as_the_specifications_require() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-0.5, "-0.5"),
            (1e21, "1e21"),
            (1e-7, "1e-7"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(Shown(Number::Float(value)).to_string(), text);
        }
        let all_digits = Shown(Number::Int((1 << 53) + 1)).to_string();
        assert_eq!(all_digits, "9007199254740993");
        let bounds = [1.0, 0.00025, 1e9, f64::INFINITY].map(|bound| Bound(bound).to_string());
        assert_eq!(bounds, ["1.0", "0.00025", "1e+09", "+Inf"]);
        let bounds = [0.0, 5e-6, -2.5e-5, 1e-4, 604_800.0, 1e6, 1_234_567.0, 1e120];
        let bounds = bounds.map(|bound| Bound(bound).to_string());
        assert_eq!(
            bounds,
            ["0.0", "5e-06", "-2.5e-05", "0.0001", "604800.0", "1e+06", "1.234567e+06", "1e+120"]
        );
    }

    #[test]
    fn text_and_open_metrics_differ_in_names_escapes_and_end() {
        let page = |format| {
            let mut page = Page::new(format);
            page.family("a", Kind::Counter, "x\\y \"z\"\n").series(&[("l", "\\ \"\n")], Number::Int(1));
            page.family("b", Kind::Gauge, "B").series(NO_LABELS, f64::NAN.into());
            page.finish()
        };
        assert_eq!(
            page(Format::Text),
            "# HELP a_total x\\\\y \"z\"\\n\n# TYPE a_total counter\na_total{l=\"\\\\ \\\"\\n\"} 1\n\
             # HELP b B\n# TYPE b gauge\nb NaN\n"
        );
        assert_eq!(
            page(Format::OpenMetrics),
            "# HELP a x\\\\y \\\"z\\\"\\n\n# TYPE a counter\na_total{l=\"\\\\ \\\"\\n\"} 1\n\
             # HELP b B\n# TYPE b gauge\nb NaN\n# EOF\n"
        );
    }

    #[test]
    fn histogram_buckets_are_cumulative_and_have_exemplars() {
        let exemplar =
            Exemplar { value: 0.5, timestamp_ns: 1_500_000_000, trace_id: [0xab; 16], span_id: [0; 8] };
        let mut histogram = Histogram {
            bounds: [1.0, 2.5].into(),
            buckets: vec![2, 0, 1],
            exemplars: vec![Some(exemplar), None, None],
            sum: 9.25,
            min: 0.25,
            max: 8.5,
        };
        let since = UNIX_EPOCH + Duration::from_millis(1_250);
        let page = |format, histogram: &Histogram| {
            let mut page = Page::new(format);
            page.family("h", Kind::Histogram, "H").histogram(&[("l", "x")], histogram, since);
            page.finish()
        };
        let trace_id = "ab".repeat(16);
        assert_eq!(
            page(Format::OpenMetrics, &histogram),
            format!(
                "# HELP h H\n# TYPE h histogram\n\
                 h_bucket{{l=\"x\",le=\"1.0\"}} 2 # {{trace_id=\"{trace_id}\"}} 0.5 1.500000000\n\
                 h_bucket{{l=\"x\",le=\"2.5\"}} 2\nh_bucket{{l=\"x\",le=\"+Inf\"}} 3\n\
                 h_count{{l=\"x\"}} 3\nh_sum{{l=\"x\"}} 9.25\n\
                 h_created{{l=\"x\"}} 1.250000000\n# EOF\n"
            )
        );
        let text = page(Format::Text, &histogram);
        assert!(!text.contains("trace_id") && !text.contains("_created"));
        histogram.min = -1.0;
        let negative = page(Format::Text, &histogram);
        assert!(negative.contains("h_bucket") && !negative.contains("_sum") && !negative.contains("_count"));
    }
}
