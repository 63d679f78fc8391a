//! Metrics of events: samples of single events ([`sample`]), and series of many of them ([`aggregate`]).

pub mod aggregate;
pub mod args;
pub mod sample;
