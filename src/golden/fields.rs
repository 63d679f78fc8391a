//! The parts of an event that are compared.

use crate::{
    control::glob::Glob,
    event::{json, view::View},
};
use std::str::FromStr;

/// What is compared.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// What is left out.
    pub ignored: Vec<Ignored>,
    /// Whether the worker's timestamps are compared.
    pub timestamps: bool,
}

/// A part of an event that is not compared.
#[derive(Debug, Clone)]
pub struct Ignored {
    part: Part,
    /// Keys within the part; without, all of it.
    key: Option<Glob>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Measurements,
    Metadata,
    CorrelationId,
    Timestamp,
}

impl FromStr for Ignored {
    type Err = &'static str;

    /// `correlation_id`, `measurements`, `metadata.KEY`, …
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        // Only the first dot is a separator: keys have dots, too.
        let (part, key) = word.split_once('.').map_or((word, None), |(part, key)| (part, Some(key)));
        let part = match (part, key) {
            ("measurements", _) => Part::Measurements,
            ("metadata", _) => Part::Metadata,
            ("correlation_id", None) => Part::CorrelationId,
            ("timestamp_ns", None) => Part::Timestamp,
            _ => {
                return Err(
                    "expected correlation_id, measurements, metadata, measurements.KEY or metadata.KEY",
                );
            }
        };
        match key {
            Some("") => Err("the key is empty"),
            key => Ok(Self { part, key: key.map(Glob::new) }),
        }
    }
}

impl Fields {
    /// Appends the line of an event. `timestamp_ns` is the one that the worker has printed.
    pub(super) fn write(&self, out: &mut Vec<u8>, event: &View<'_>, timestamp_ns: Option<i64>) {
        out.extend_from_slice(b"{\"event\": ");
        json::string(out, event.name());
        if !self.ignores(Part::Measurements) {
            out.extend_from_slice(b", \"measurements\": ");
            json::object(out, &self.kept(Part::Measurements, event.measurements()), json::measurement);
        }
        if !self.ignores(Part::Metadata) {
            out.extend_from_slice(b", \"metadata\": ");
            json::object(out, &self.kept(Part::Metadata, event.metadata()), json::string);
        }
        if self.timestamps && !self.ignores(Part::Timestamp) {
            out.extend_from_slice(b", \"timestamp_ns\": ");
            json::timestamp(out, timestamp_ns);
        }
        if !self.ignores(Part::CorrelationId) {
            out.extend_from_slice(b", \"correlation_id\": ");
            json::string(out, event.correlation_id());
        }
        out.extend_from_slice(b"}\n");
    }

    /// Whether all of a part is ignored.
    fn ignores(&self, part: Part) -> bool {
        self.ignored.iter().any(|ignored| ignored.part == part && ignored.key.is_none())
    }

    /// The entries of a part that are compared.
    fn kept<'e, V: Copy>(&self, part: Part, entries: &[(&'e str, V)]) -> Vec<(&'e str, V)> {
        let is_ignored = |key: &str| {
            let mut globs = self.ignored.iter().filter(|ignored| ignored.part == part);
            globs.any(|ignored| ignored.key.as_ref().is_some_and(|glob| glob.matches(key)))
        };
        entries.iter().filter(|(key, _)| !is_ignored(key)).copied().collect()
    }
}
