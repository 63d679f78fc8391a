//! Counters that exporters keep themselves, beside those of the hub.

use crate::hub::CounterSet;
use std::{
    fmt::Debug,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

/// A closed set of counters: an enum made by `counters!`.
pub trait Counter: Copy + Debug + Send + Sync + 'static {
    /// All of them, in the order of their names.
    const ALL: &'static [Self];

    /// The name in statistics and metrics.
    fn name(self) -> &'static str;

    /// The index in [`ALL`](Self::ALL).
    fn index(self) -> usize;
}

/// Defines an enum of counters. Their names must be in alphabetical order, which is the order of reports.
macro_rules! counters {
    ($(#[$outer:meta])* $visibility:vis enum $set:ident {
        $($(#[$inner:meta])* $variant:ident = $name:literal,)+
    }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $set { $($(#[$inner])* $variant,)+ }

        impl $crate::exporter::counters::Counter for $set {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(super) use counters;

/// The values of a set of counters. They are counted without the hub's lock.
#[derive(Debug)]
pub struct Counters<C> {
    values: Box<[AtomicU64]>,
    set: PhantomData<fn() -> C>,
}

impl<C: Counter> Default for Counters<C> {
    fn default() -> Self {
        Self { values: C::ALL.iter().map(|_| AtomicU64::new(0)).collect(), set: PhantomData }
    }
}

impl<C: Counter> Counters<C> {
    /// Adds to a counter.
    pub fn add(&self, counter: C, by: u64) {
        if let Some(value) = self.values.get(counter.index()) {
            // Counters depend on nothing else; what is acknowledged after this is synchronized by the hub's
            // lock.
            value.fetch_add(by, Ordering::Relaxed);
        }
    }
}

impl<C: Counter> CounterSet for Counters<C> {
    fn values(&self) -> Vec<(&'static str, u64)> {
        let values = self.values.iter().map(|value| value.load(Ordering::Relaxed));
        C::ALL.iter().map(|counter| counter.name()).zip(values).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::{otlp, prometheus, statsd};

    #[test]
    fn counters_are_reported_with_their_names_in_alphabetical_order() {
        let counters = Counters::<statsd::Counter>::default();
        counters.add(statsd::Counter::Unsent, 3);
        counters.add(statsd::Counter::Unsent, 4);
        let expected = [("datagrams", 0), ("invalid", 0), ("oversized", 0), ("unsent", 7)];
        assert_eq!(counters.values(), expected);
        assert!(Counters::<otlp::Counter>::default().values().is_sorted());
        assert!(Counters::<prometheus::RejectReason>::default().values().is_sorted());
    }
}
