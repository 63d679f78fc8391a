//! Lines packed into datagrams. Pure: what is full is to be fetched and sent.
//!
//! Counts of one series that go out together are added up, and of its gauges only the latest goes: a worker that prints
//! a hundred thousand events a second costs the network and the server no more than one that prints ten. Times cannot
//! be joined; each is a line.

use super::{
    Counts,
    lines::{Line, Type, write},
    settings::Dialect,
};
use std::collections::{BTreeMap, VecDeque};

/// How many bytes of series may wait to be joined. When there are more of them, everything goes at once.
const MAX_JOINED_BYTES: usize = 64 * 1024;

/// A datagram: lines with newlines between them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// What to send.
    pub text: String,
    /// How many events are counted in it.
    pub events: u64,
}

/// Numbers of a series that are one line.
#[derive(Debug)]
struct Joined {
    kind: Type,
    value: f64,
    events: u64,
}

/// What waits to be sent.
#[derive(Debug)]
pub struct Packets {
    dialect: Dialect,
    max_bytes: usize,
    /// By series.
    joined: BTreeMap<String, Joined>,
    /// Of all series in `joined`.
    joined_bytes: usize,
    open: Packet,
    full: VecDeque<Packet>,
}

impl Packets {
    /// Datagrams of at most so many bytes.
    pub fn new(dialect: Dialect, max_bytes: usize) -> Self {
        Self {
            dialect,
            max_bytes,
            joined: BTreeMap::new(),
            joined_bytes: 0,
            open: Packet::default(),
            full: VecDeque::new(),
        }
    }

    /// Whether there is nothing that a flush would send.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.open.text.is_empty()
    }

    /// The next datagram that is to be sent now.
    pub fn take_full(&mut self) -> Option<Packet> {
        self.full.pop_front()
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line<'_>, counts: &mut Counts) {
        let Line { series, kind, value, is_event } = line;
        let events = u64::from(is_event);
        match (kind, self.joined.get_mut(series)) {
            (Type::Timer | Type::Histogram, _) => self.pack(series, &Joined { kind, value, events }, counts),
            (_, None) => {
                self.joined_bytes += series.len();
                self.joined.insert(series.to_owned(), Joined { kind, value, events });
            }
            (Type::Gauge, Some(joined)) => joined.value = value,
            (Type::Counter, Some(joined)) => {
                joined.events += events;
                // Two enormous numbers.
                let fits = (joined.value + value).is_finite();
                if fits { joined.value += value } else { counts.invalid += 1 }
            }
        }
        if self.joined_bytes > MAX_JOINED_BYTES {
            self.flush(counts);
        }
    }

    /// Has everything sent that was added.
    pub fn flush(&mut self, counts: &mut Counts) {
        self.joined_bytes = 0;
        for (series, joined) in std::mem::take(&mut self.joined) {
            self.pack(&series, &joined, counts);
        }
        self.close();
    }

    fn pack(&mut self, series: &str, joined: &Joined, counts: &mut Counts) {
        let mut line = String::with_capacity(series.len() + 20);
        // To StatsD a sign says that a gauge has changed by so much. What is to be set comes after a zero, and both in
        // one datagram, for datagrams overtake one another.
        if joined.kind == Type::Gauge && joined.value < 0.0 && self.dialect == Dialect::Statsd {
            write(&mut line, series, 0.0);
            line.push('\n');
        }
        write(&mut line, series, joined.value);
        if line.len() > self.max_bytes {
            counts.oversized += 1;
            counts.lost_events += joined.events;
            return;
        }
        if self.open.text.len() + 1 + line.len() > self.max_bytes {
            self.close();
        }
        if !self.open.text.is_empty() {
            self.open.text.push('\n');
        }
        self.open.text.push_str(&line);
        self.open.events += joined.events;
    }

    /// Takes no more lines into the open datagram.
    fn close(&mut self) {
        if !self.open.text.is_empty() {
            let next = Packet { text: String::with_capacity(self.max_bytes), events: 0 };
            self.full.push_back(std::mem::replace(&mut self.open, next));
        }
    }
}
