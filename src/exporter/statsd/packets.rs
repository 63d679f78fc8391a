//! Packs lines into datagrams. Performs no I/O: the caller takes full datagrams and sends them.
//!
//! Counters of one series that are sent together are summed, and only the latest gauge is sent: a worker that
//! prints a hundred thousand events a second costs the network and the server no more than one that prints
//! ten. Timers, histograms and distributions cannot be merged; each value is a line.

use super::{
    Counts,
    lines::{Line, Type, write},
};
use std::collections::{BTreeMap, VecDeque};

/// Maximum size in bytes of all series that wait to be merged; beyond it everything is sent.
const MAX_MERGED_BYTES: usize = 64 * 1024;

/// A datagram: lines separated by newlines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Packet {
    pub text: String,
    /// The number of events whose counts it contains.
    pub events: u64,
}

/// The merged values of a series.
#[derive(Debug)]
struct Merged {
    kind: Type,
    value: f64,
    events: u64,
}

/// Lines that wait to be sent.
#[derive(Debug)]
pub struct Packets {
    max_bytes: usize,
    /// Keyed by series.
    merged: BTreeMap<String, Merged>,
    /// Total length of the keys of `merged`.
    merged_bytes: usize,
    open: Packet,
    full: VecDeque<Packet>,
}

impl Packets {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            merged: BTreeMap::new(),
            merged_bytes: 0,
            open: Packet::default(),
            full: VecDeque::new(),
        }
    }

    /// Whether a flush would send nothing.
    pub fn is_empty(&self) -> bool {
        self.merged.is_empty() && self.open.text.is_empty()
    }

    /// Takes the next full datagram.
    pub fn take_full(&mut self) -> Option<Packet> {
        self.full.pop_front()
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line<'_>, counts: &mut Counts) {
        let Line { series, kind, value, is_event } = line;
        let events = u64::from(is_event);
        match (kind, self.merged.get_mut(series)) {
            (Type::Timer | Type::Histogram | Type::Distribution, _) => {
                self.pack(series, &Merged { kind, value, events }, counts);
            }
            (_, None) => {
                self.merged_bytes += series.len();
                self.merged.insert(series.to_owned(), Merged { kind, value, events });
            }
            (Type::Gauge, Some(merged)) => merged.value = value,
            (Type::Counter, Some(merged)) => {
                merged.events += events;
                // The sum of two finite numbers can overflow.
                let fits = (merged.value + value).is_finite();
                if fits { merged.value += value } else { counts.invalid += 1 }
            }
        }
        if self.merged_bytes > MAX_MERGED_BYTES {
            self.flush(counts);
        }
    }

    /// Packs everything that was added, so that [`take_full`](Self::take_full) returns it.
    pub fn flush(&mut self, counts: &mut Counts) {
        self.merged_bytes = 0;
        for (series, merged) in std::mem::take(&mut self.merged) {
            self.pack(&series, &merged, counts);
        }
        self.close();
    }

    fn pack(&mut self, series: &str, merged: &Merged, counts: &mut Counts) {
        let mut line = String::with_capacity(series.len() + 20);
        // A signed gauge is a change to StatsD, and to servers that accept tags and keep StatsD's meaning of
        // signs (Telegraf, Prometheus' statsd_exporter). A zero before it makes the value absolute; both are
        // in one datagram, because datagrams can be reordered. Datadog's agent keeps the latest value.
        if merged.kind == Type::Gauge && merged.value < 0.0 {
            write(&mut line, series, 0.0);
            line.push('\n');
        }
        write(&mut line, series, merged.value);
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
        self.open.text.push_str(&line);
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
