//! Metrics of events: samples of single events ([`sample`]), and series of many of them ([`aggregate`]).

pub mod aggregate;
pub mod args;
pub mod buckets;
pub mod exponential;
pub mod histogram;
pub mod key;
pub mod sample;
pub mod sorted;

use crate::control::glob::Glob;

/// The name in front of all names of metrics, in each exporter's own syntax: that of the pooler whose workers
/// are counted.
pub const PREFIX: &str = "snakepit";

/// The setting of the last glob that matches.
fn last_match<T>(rules: &[(Glob, T)], matches: impl Fn(&Glob) -> bool) -> Option<&T> {
    rules.iter().rev().find(|(glob, _)| matches(glob)).map(|(_, setting)| setting)
}
