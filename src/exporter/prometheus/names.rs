//! Valid and unique Prometheus names for a worker's metrics and labels.
//!
//! Metric names match `[a-zA-Z_:][a-zA-Z0-9_:]*`, where the colon is reserved for recording rules; label
//! names match `[a-zA-Z_][a-zA-Z0-9_]*`, where a leading `__` is reserved for Prometheus
//! (<https://prometheus.io/docs/concepts/data_model/>). A family also owns the names formed with a suffix, in
//! either format
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md#suffixes>).
//!
//! Different names of a worker can map to the same Prometheus name. The first one keeps it until the end, so
//! that a series never changes its meaning between two scrapes; the others are dropped and counted as
//! collisions.

use crate::exporter::metrics::{
    aggregate::{Metric, OVERFLOW_LABEL},
    sample::Kind,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

/// What the names of the sidecar's own metrics start with.
pub const OWN_PREFIX: &str = "telemetry_sidecar_";

/// What the names of all metrics of the worker start with; it ends with an underscore. No name with it is one
/// of the sidecar's own metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let is_name = word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err("expected letters, digits and '_', the first one a letter");
        }
        let prefix = format!("{}_", word.trim_end_matches('_'));
        if OWN_PREFIX.starts_with(&prefix) || prefix.starts_with(OWN_PREFIX) {
            return Err("the names of the sidecar's own metrics start with telemetry_sidecar");
        }
        Ok(Self(prefix))
    }
}

/// Families that always exist: dotted name, family name without prefix, and kind.
const FIXED: [(&str, &str, Kind); 2] = [
    ("events", "events", Kind::Counter),
    ("operation.duration", "operation_duration_seconds", Kind::Histogram),
];

/// Labels that the sidecar or the format sets itself.
const OWN_LABELS: [&str; 5] = ["event", "operation", "result", "le", "quantile"];

/// Assigns family names to metrics.
#[derive(Debug)]
pub struct Names {
    prefix: Prefix,
    /// Family names (without `_total`) and the dotted names of their metrics.
    families: BTreeMap<String, String>,
    /// Dotted names that have been seen, whether they got a family name or not.
    known: BTreeSet<String>,
    /// Every name used by a family or one of its samples.
    taken: BTreeSet<String>,
}

impl Names {
    /// Names that start with this prefix.
    pub fn new(prefix: &Prefix) -> Self {
        let mut names = Self {
            prefix: prefix.clone(),
            families: BTreeMap::new(),
            known: BTreeSet::new(),
            taken: BTreeSet::new(),
        };
        for (dotted, family, kind) in FIXED {
            names.claim(dotted, format!("{}{family}", prefix.0), kind);
        }
        names
    }

    /// Takes the names of a family that is no metric of the worker's.
    pub fn reserve(&mut self, family: &str, kind: Kind) {
        self.taken.extend(claims(family, kind));
    }

    /// Assigns a name to a metric that has not been seen before. Returns false if the name is taken: then the
    /// metric stays without a name.
    pub fn learn(&mut self, dotted: &str, metric: &Metric) -> bool {
        self.known.contains(dotted) || self.claim(dotted, self.family_name(dotted, metric.kind), metric.kind)
    }

    fn claim(&mut self, dotted: &str, family: String, kind: Kind) -> bool {
        self.known.insert(dotted.to_owned());
        let claims = claims(&family, kind);
        let free = claims.iter().all(|claim| !self.taken.contains(claim));
        if free {
            self.taken.extend(claims);
            self.families.insert(family, dotted.to_owned());
        }
        free
    }

    /// The family name of a metric. A counter's `_total` belongs to its samples.
    fn family_name(&self, dotted: &str, kind: Kind) -> String {
        let name = format!("{}{}", self.prefix.0, only_word_characters(dotted));
        match name.strip_suffix("_total") {
            Some(family) if kind == Kind::Counter => family.to_owned(),
            _ => name,
        }
    }

    /// Family names (without `_total`) in order, with the dotted names of their metrics.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str)> {
        self.families.iter().map(|(family, dotted)| (family.as_str(), dotted.as_str()))
    }
}

/// The names that a family reserves.
fn claims(family: &str, kind: Kind) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        Kind::Counter => &["", "_total", "_created"],
        Kind::Gauge => &[""],
        Kind::Histogram | Kind::Distribution => &["", "_bucket", "_count", "_sum", "_created"],
    };
    suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect()
}

fn only_word_characters(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Pairs of metadata key and label name, and the number of keys dropped because their label name is taken.
/// Repeated keys count once.
pub fn labels(keys: &[String]) -> (Vec<(String, String)>, u64) {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut collisions = 0;
    for key in keys {
        let label = label(key);
        match labels.iter().find(|(_, taken)| *taken == label) {
            None => labels.push((key.clone(), label)),
            Some((other, _)) if other == key => {}
            Some(_) => collisions += 1,
        }
    }
    (labels, collisions)
}

/// The label name of a key, prefixed with `metadata_` if it would be invalid or reserved.
fn label(key: &str) -> String {
    let label = only_word_characters(key);
    let overflow = only_word_characters(OVERFLOW_LABEL.0);
    let bad_start =
        label.is_empty() || label.starts_with("__") || label.starts_with(|c: char| c.is_ascii_digit());
    if bad_start || OWN_LABELS.contains(&label.as_str()) || label == overflow {
        format!("metadata_{label}")
    } else {
        label
    }
}

/// The label name of a series: those from metadata are valid already, [`OVERFLOW_LABEL`] is not.
pub fn series_label(label: &str) -> String {
    only_word_characters(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::metrics::PREFIX;
    use crate::exporter::metrics::sorted::Sorted;

    #[test]
    fn a_prefix_is_a_word_that_is_not_the_sidecars_own() {
        for (word, prefix) in [("a", "a_"), ("a_", "a_"), ("a_1__", "a_1_"), ("telemetryx", "telemetryx_")] {
            assert_eq!(word.parse(), Ok(Prefix(prefix.into())));
        }
        for word in ["", "_", "_a", "1a", "a.b", "a:b", "a-b", "ä", "a b", "a\n"] {
            assert!(word.parse::<Prefix>().unwrap_err().contains("the first one a letter"), "{word}");
        }
        for word in ["telemetry", "telemetry_", "telemetry_sidecar", "telemetry_sidecar_x"] {
            assert!(word.parse::<Prefix>().unwrap_err().contains("own metrics"), "{word}");
        }
        let mut names = Names::new(&"pool".parse().unwrap());
        names.learn("a.rows", &metric(Kind::Gauge));
        let families: Vec<_> = names.families().map(|(family, _)| family).collect();
        assert_eq!(families, ["pool_a_rows", "pool_events", "pool_operation_duration_seconds"]);
    }

    fn metric(kind: Kind) -> Metric {
        Metric { kind, seconds: false, series: Sorted::default() }
    }

    fn names() -> Names {
        Names::new(&PREFIX.parse().unwrap())
    }

    /// Family names assigned to these metrics, without the fixed families.
    fn named(metrics: &[(&str, Kind)]) -> Vec<String> {
        let mut names = names();
        for (dotted, kind) in metrics {
            names.learn(dotted, &metric(*kind));
        }
        let fixed =
            |family: &str| FIXED.iter().any(|(_, name, _)| family.strip_prefix("snakepit_") == Some(name));
        names.families().filter(|(family, _)| !fixed(family)).map(|(family, _)| family.to_owned()).collect()
    }

    #[test]
    fn invalid_characters_become_underscores() {
        for (dotted, name) in [
            ("tool.result_size", "snakepit_tool_result_size"),
            ("1.x", "snakepit_1_x"),
            ("a:b.c-d", "snakepit_a_b_c_d"),
            ("größe.µ", "snakepit_gr__e__"),
            (".", "snakepit__"),
        ] {
            assert_eq!(named(&[(dotted, Kind::Gauge)]), [name]);
        }
        assert_eq!(named(&[("a.b_total", Kind::Counter)]), ["snakepit_a_b"]);
        assert_eq!(named(&[("a.b_total", Kind::Gauge)]), ["snakepit_a_b_total"]);
    }

    #[test]
    fn the_first_metric_keeps_a_name_and_a_collision_is_reported_once() {
        let mut names = names();
        assert!(names.learn("b.c", &metric(Kind::Gauge)));
        assert!(!names.learn("b_c", &metric(Kind::Gauge)), "the same name");
        assert!(names.learn("b_c", &metric(Kind::Gauge)), "reported once");
        assert!(names.families().any(|family| family == ("snakepit_b_c", "b.c")));
    }

    #[test]
    fn a_family_reserves_the_names_of_its_samples() {
        use Kind::{Counter, Gauge, Histogram};
        for (first, second) in [
            (("a.x", Histogram), ("a.x_count", Gauge)),
            (("a.x_count", Gauge), ("a.x", Histogram)),
            (("a.x", Histogram), ("a.x.sum", Counter)),
            (("a.x", Counter), ("a.x_total", Gauge)),
            (("a.x", Counter), ("a.x_total", Counter)),
            (("a.x", Counter), ("a.x", Gauge)),
            (("a.x_created", Gauge), ("a.x", Counter)),
        ] {
            assert_eq!(named(&[first, second]).len(), 1, "{first:?} {second:?}");
        }
        for second in
            ["events.total", "events_created", "operation.duration_seconds", "operation.duration.seconds_sum"]
        {
            assert_eq!(named(&[(second, Gauge)]), [""; 0], "{second} would be one of the fixed families");
        }
    }

    #[test]
    fn a_reserved_family_is_no_metric_of_the_workers() {
        let mut names = Names::new(&"process".parse().unwrap());
        names.reserve("process_memory_usage_bytes", Kind::Gauge);
        assert!(!names.learn("memory.usage_bytes", &metric(Kind::Gauge)));
        assert!(names.learn("memory.usage", &metric(Kind::Gauge)));
    }

    #[test]
    fn invalid_and_reserved_labels_get_a_prefix_and_duplicates_are_dropped() {
        let labels_of = |keys: &[&str]| {
            let (labels, collisions) = labels(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
            (labels.into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" "), collisions)
        };
        assert_eq!(labels_of(&["tool", "user.name", "µ"]), ("tool user_name _".into(), 0));
        assert_eq!(
            labels_of(&["le", "event", "1st", "__name__", "", "otel.metric.overflow"]),
            (
                "metadata_le metadata_event metadata_1st metadata___name__ metadata_ \
                 metadata_otel_metric_overflow"
                    .into(),
                0
            )
        );
        assert_eq!(labels_of(&["a.b", "a-b", "a.b", "metadata_le", "le"]), ("a_b metadata_le".into(), 2));
    }
}
