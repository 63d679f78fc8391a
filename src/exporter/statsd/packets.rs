//! Packs lines into datagrams. Performs no I/O: the caller takes full datagrams and sends them.
//!
//! Counters of one series that are sent together are summed, and only the latest gauge is sent: a worker that
//! prints a hundred thousand events a second costs the network and the server no more than one that prints
//! ten. Timers, histograms and distributions cannot be merged; each value is a line.
//!
//! The texts of series are kept, so that a line of a known series takes no more than its digits. Memory is
//! bounded: a flush forgets them if they have become many.

use super::{
    Counts,
    lines::{Line, Type, write},
};
use crate::exporter::metrics::key::Known;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Maximum size in bytes of all series that wait to be merged; beyond it everything is sent.
const MAX_MERGED_BYTES: usize = 64 * 1024;

/// Series are no longer kept for lines that cannot be merged when all kept ones and their keys have this many
/// bytes, and the next flush forgets them.
const MAX_KEPT_BYTES: usize = 256 * 1024;

/// A datagram: lines separated by newlines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Packet {
    pub text: String,
    /// The number of events whose counts it contains.
    pub events: u64,
}

/// The state of a series that was sent.
#[derive(Debug)]
struct Series {
    /// The line without its value.
    text: Arc<str>,
    kind: Type,
    /// What waits to be sent.
    merged: Option<Merged>,
}

/// The merged values of a series.
#[derive(Debug, Clone, Copy)]
struct Merged {
    value: f64,
    events: u64,
}

/// Lines that wait to be sent.
#[derive(Debug)]
pub struct Packets {
    series: Vec<Series>,
    /// The places of series by their texts, and by the keys of their lines.
    by_text: BTreeMap<Arc<str>, usize>,
    known: Known<usize>,
    /// Total length of the texts in `series`.
    text_bytes: usize,
    /// Total length of the texts of the series that wait.
    merged_bytes: usize,
    packer: Packer,
}

impl Packets {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            series: Vec::new(),
            by_text: BTreeMap::new(),
            known: Known::default(),
            text_bytes: 0,
            merged_bytes: 0,
            packer: Packer { max_bytes, line: String::new(), open: Packet::default(), full: VecDeque::new() },
        }
    }

    /// Whether a flush would send nothing.
    pub fn is_empty(&self) -> bool {
        self.merged_bytes == 0 && self.packer.open.text.is_empty()
    }

    /// Takes the next full datagram.
    pub fn take_full(&mut self) -> Option<Packet> {
        self.packer.full.pop_front()
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line<'_>, counts: &mut Counts) {
        let Line { kind, value, is_event, .. } = line;
        let added = Merged { value, events: u64::from(is_event) };
        let is_single = matches!(kind, Type::Timer | Type::Histogram | Type::Distribution);
        let place = self.known.get(line.key()).or_else(|| self.find(&line, is_single));
        let Some(series) = place.and_then(|place| self.series.get_mut(place)) else {
            return self.packer.pack(&line.series(), kind, added, counts);
        };
        if is_single {
            return self.packer.pack(&series.text, kind, added, counts);
        }
        match &mut series.merged {
            None => {
                self.merged_bytes += series.text.len();
                series.merged = Some(added);
            }
            Some(merged) if kind == Type::Gauge => merged.value = value,
            Some(merged) => {
                merged.events += added.events;
                // The sum of two finite numbers can overflow.
                let fits = (merged.value + value).is_finite();
                if fits { merged.value += value } else { counts.invalid += 1 }
            }
        }
        if self.merged_bytes > MAX_MERGED_BYTES {
            self.flush(counts);
        }
    }

    /// Finds the series of a line by its text, or keeps it, unless the line is single and there is no room.
    fn find(&mut self, line: &Line<'_>, is_single: bool) -> Option<usize> {
        if is_single && self.is_full() {
            return None;
        }
        let text = line.series();
        let place = self.by_text.get(text.as_str()).copied().unwrap_or_else(|| {
            let text = Arc::<str>::from(text);
            let place = self.series.len();
            self.text_bytes += text.len();
            self.by_text.insert(Arc::clone(&text), place);
            self.series.push(Series { text, kind: line.kind, merged: None });
            place
        });
        self.known.add(line.key(), place);
        Some(place)
    }

    fn is_full(&self) -> bool {
        self.kept_bytes() > MAX_KEPT_BYTES
    }

    /// The length of all texts and keys that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.text_bytes + self.known.bytes()
    }

    /// Packs everything that was added, so that [`take_full`](Self::take_full) returns it.
    pub fn flush(&mut self, counts: &mut Counts) {
        self.merged_bytes = 0;
        for place in self.by_text.values() {
            let Some(Series { text, kind, merged }) = self.series.get_mut(*place) else { continue };
            if let Some(merged) = merged.take() {
                self.packer.pack(text, *kind, merged, counts);
            }
        }
        self.packer.close();
        if self.is_full() {
            self.series.clear();
            self.by_text.clear();
            self.known.clear();
            self.text_bytes = 0;
        }
    }
}

/// Puts lines into datagrams.
#[derive(Debug)]
struct Packer {
    max_bytes: usize,
    /// The line, in a buffer that is used again.
    line: String,
    open: Packet,
    full: VecDeque<Packet>,
}

impl Packer {
    fn pack(&mut self, series: &str, kind: Type, merged: Merged, counts: &mut Counts) {
        let Self { line, .. } = self;
        line.clear();
        // A signed gauge is a change to StatsD, and to servers that accept tags and keep StatsD's meaning of
        // signs (Telegraf, Prometheus' statsd_exporter). A zero before it makes the value absolute; both are
        // in one datagram, because datagrams can be reordered. Datadog's agent keeps the latest value.
        if kind == Type::Gauge && merged.value < 0.0 {
            write(line, series, 0.0);
            line.push('\n');
        }
        write(line, series, merged.value);
        if line.len() > self.max_bytes {
            counts.oversized += 1;
            counts.lost_events += merged.events;
            return;
        }
        if self.open.text.len() + 1 + line.len() > self.max_bytes {
            self.close();
        }
        if !self.open.text.is_empty() {
            self.open.text.push('\n');
        }
        self.open.text.push_str(&self.line);
        self.open.events += merged.events;
    }

    /// Closes the open datagram.
    fn close(&mut self) {
        if !self.open.text.is_empty() {
            let next = Packet { text: String::with_capacity(self.max_bytes), events: 0 };
            self.full.push_back(std::mem::replace(&mut self.open, next));
        }
    }
}
