//! What subscriptions start with, and what may wait for them.

use crate::{
    control::PatternLimits,
    hub::WhenFull,
    system::{
        option::{Several, one_of, repeated, value},
        value::{COUNT, Period, SIZE, duration, integer_in, ratio, switch},
    },
};
use clap::Args;
use std::time::Duration;

/// A second's worth of events of a busy worker.
const QUEUE_CAPACITY: usize = 1024;

/// Holds four of the longest lines.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Waking a thread and sending costs more than decoding some events. This is too short for people to notice,
/// and at a thousand events a second it saves four of five sends.
const FLUSH_INTERVAL: Period = Period(Duration::from_millis(5));

/// Four full queues. What is not read leaves room for others, so that all subscribers of one worker get by
/// with it.
const TOTAL_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Every trace: less is a choice of the subscriber.
const SAMPLING_RATE: f64 = 1.0;

/// What subscriptions start with, and what may wait for them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Subscriptions")]
pub struct SubscriptionArgs {
    /// Default filter: events to send; repeatable [default: all]
    #[arg(
        long,
        value_name = "GLOB",
        env = "TELEMETRY_SIDECAR_ALLOW",
        value_parser = repeated(PatternLimits::glob),
        long_help = "Default filter of subscriptions: events to send, as a glob over the name; repeatable. \
            Exporters get only these, too [default: all]"
    )]
    pub allow: Vec<Several<String>>,

    /// Default filter: events to leave out; repeatable
    #[arg(
        long,
        value_name = "GLOB",
        env = "TELEMETRY_SIDECAR_DENY",
        value_parser = repeated(PatternLimits::glob),
        long_help = "Default filter of subscriptions: events to leave out, as a glob over the name; \
            repeatable. Exporters do not get these either"
    )]
    pub deny: Vec<Several<String>>,

    /// Share of traces that a subscription starts with, 0 to 1
    #[arg(
        long,
        value_name = "R",
        default_value_t = SAMPLING_RATE,
        env = "TELEMETRY_SIDECAR_SAMPLING_RATE",
        value_parser = value(ratio),
        long_help = "Share of traces that a subscription starts with, 0 to 1. It applies to OpenTelemetry \
            and JSON lines, too, not to Prometheus and StatsD"
    )]
    pub sampling_rate: f64,

    /// Subscribers get nothing until they enable their stream; exporters get nothing
    #[arg(long, env = "TELEMETRY_SIDECAR_DISABLED", value_parser = value(switch))]
    pub disabled: bool,

    /// Events that may wait for each subscriber
    #[arg(
        long,
        value_name = "N",
        default_value_t = QUEUE_CAPACITY,
        env = "TELEMETRY_SIDECAR_QUEUE_CAPACITY",
        value_parser = value(integer_in::<usize>(COUNT))
    )]
    pub queue_capacity: usize,

    /// Bytes that may wait for each subscriber
    #[arg(
        long,
        value_name = "N",
        default_value_t = QUEUE_BYTES,
        env = "TELEMETRY_SIDECAR_QUEUE_BYTES",
        value_parser = value(integer_in::<usize>(SIZE))
    )]
    pub queue_bytes: usize,

    /// Memory of all queues together
    #[arg(
        long,
        value_name = "N",
        default_value_t = TOTAL_QUEUE_BYTES,
        env = "TELEMETRY_SIDECAR_TOTAL_QUEUE_BYTES",
        value_parser = value(integer_in::<usize>(SIZE)),
        long_help = "Memory of all queues together, in bytes: those of subscribers and exporters, and the \
            backlog. A queue takes no more than is left for all, so that others have room; an empty one \
            always takes an event"
    )]
    pub total_queue_bytes: usize,

    /// How long events that follow another one may wait to be sent together
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = FLUSH_INTERVAL,
        env = "TELEMETRY_SIDECAR_FLUSH_INTERVAL",
        value_parser = value(duration),
        long_help = "How long events may wait to be sent together. An event after a pause is sent at once, \
            those that follow within this time are sent together at its end; 0s sends each as it comes. \
            Full chunks (32 KiB, or half a queue) and the last events do not wait. It applies to \
            exporters, too. A replay sends events as it reads them"
    )]
    pub flush_interval: Period,

    /// Which event a full queue drops
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        default_value_t,
        env = "TELEMETRY_SIDECAR_WHEN_FULL",
        value_parser = one_of::<WhenFull>()
    )]
    pub when_full: WhenFull,
}
