//! One subscriber or exporter as the hub sees it: controls, a queue, and books.

use super::{
    Chunk, ConsumerAccount,
    queue::{Limits, Queue},
};
use crate::{
    control::{ByName, Controls, Verdict},
    event::{batch::Batch, stats::ConsumerStats},
};
use std::{collections::BTreeMap, mem, ops::Range, sync::Arc, task::Waker};

/// When an event that is taken counts as delivered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delivery {
    AtOnce,
    OnAcknowledgement,
}

#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) id: u64,
    pub(super) name: String,
    controls: Controls,
    limits: Limits,
    queue: Queue,
    stats: ConsumerStats,
    /// What it counts itself.
    counters: BTreeMap<&'static str, u64>,
    /// Whether nobody takes events any more.
    left: bool,
    /// Whether it asked to linger.
    lingering: bool,
    /// Whoever waits for events.
    pub(super) waker: Option<Waker>,
}

impl Consumer {
    pub(super) fn new(id: u64, name: String, controls: Controls, limits: Limits) -> Self {
        Self {
            id,
            name,
            controls,
            limits,
            queue: Queue::new(limits),
            stats: ConsumerStats::default(),
            counters: BTreeMap::new(),
            left: false,
            lingering: false,
            waker: None,
        }
    }

    pub(super) fn has_room(&self, events: usize, bytes: usize) -> bool {
        self.queue.has_room(events, bytes)
    }

    pub(super) fn has_queued(&self) -> bool {
        self.queue.len() > 0
    }

    /// Whether nothing is queued or in flight.
    pub(super) fn is_drained(&self) -> bool {
        self.unsettled() == 0
    }

    fn unsettled(&self) -> u64 {
        (self.queue.len() + self.queue.in_flight()) as u64
    }

    /// Judges events by the controls in force now and queues those that pass.
    pub(super) fn offer(&mut self, batch: &Arc<Batch>, events: Range<usize>) {
        self.stats.offered += events.len() as u64;
        let bytes = batch.frame_range(events.clone()).len();
        if self.controls.keeps_all() && self.queue.has_room(events.len(), bytes) {
            self.queue.push_run(batch, events);
        } else {
            // Judged once for all events of a name.
            let mut by_name = vec![None; if events.len() > 1 { batch.name_count() } else { 0 }];
            for index in events {
                let Some(verdict) = judge(&mut self.controls, batch, index, &mut by_name) else { continue };
                match verdict {
                    Verdict::Keep => self.stats.dropped += self.queue.push(batch, index),
                    Verdict::SwitchedOff => self.stats.switched_off += 1,
                    Verdict::Filtered => self.stats.filtered += 1,
                    Verdict::SampledOut => self.stats.sampled_out += 1,
                }
            }
        }
        self.queue.settle(batch);
        if self.left {
            drop(self.abandon_queue());
        }
    }

    /// Puts controls in force and returns those that were, to be dropped when the lock is released.
    pub(super) fn put_in_force(&mut self, controls: Controls) -> Controls {
        self.stats.controls_applied += 1;
        self.controls.replace(controls)
    }

    pub(super) fn refuse_control(&mut self) {
        self.stats.controls_refused += 1;
    }

    /// Takes about so many bytes of whole frames, if any are queued. The events are in flight until they are
    /// acknowledged or dropped, or delivered at once.
    pub(super) fn take(&mut self, about: usize, delivery: Delivery) -> Option<Chunk> {
        let (frames, events) = self.queue.take(about)?;
        match delivery {
            Delivery::OnAcknowledgement => self.queue.add_in_flight(events),
            Delivery::AtOnce => self.stats.delivered += events as u64,
        }
        Some(Chunk { frames, events: events as u64 })
    }

    /// Counts events in flight as delivered.
    pub(super) fn acknowledge(&mut self, events: u64) {
        self.stats.delivered += self.queue.settle_in_flight(events);
    }

    /// Counts events in flight as dropped.
    pub(super) fn drop_in_flight(&mut self, events: u64) {
        self.stats.dropped += self.queue.settle_in_flight(events);
    }

    pub(super) fn stats(&self) -> ConsumerStats {
        ConsumerStats { queued: self.unsettled(), queued_bytes: self.queue.bytes() as u64, ..self.stats }
    }

    pub(super) fn account(&self) -> ConsumerAccount {
        ConsumerAccount {
            id: self.id,
            name: self.name.clone(),
            stats: self.stats(),
            counters: self.counters.clone(),
        }
    }

    pub(super) fn count(&mut self, counter: &'static str, by: u64) {
        *self.counters.entry(counter).or_default() += by;
    }

    /// Nobody takes events any more: what is queued or in flight is abandoned, and so is what may still come. It returns
    /// what was queued, to be dropped when the lock is released.
    pub(super) fn leave(&mut self) -> Queue {
        self.left = true;
        self.abandon_queue()
    }

    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    pub(super) fn linger(&mut self) {
        self.lingering = true;
    }

    /// Whether it is still there and asked to linger.
    pub(super) fn lingers(&self) -> bool {
        self.lingering && !self.left
    }

    fn abandon_queue(&mut self) -> Queue {
        self.stats.abandoned += self.unsettled();
        mem::replace(&mut self.queue, Queue::new(self.limits))
    }
}

/// Judges an event, its name only if that is not known yet.
fn judge(
    controls: &mut Controls,
    batch: &Batch,
    index: usize,
    by_name: &mut [Option<ByName>],
) -> Option<Verdict> {
    let number = batch.name_number(index)?;
    let judged = if let Some(Some(judged)) = by_name.get(number) {
        *judged
    } else {
        let judged = controls.judge_name(batch.name(number)?);
        if let Some(place) = by_name.get_mut(number) {
            *place = Some(judged);
        }
        judged
    };
    Some(judged.judge(batch.correlation_id(index)?))
}
