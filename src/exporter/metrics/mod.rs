//! Events as metrics: what their numbers mean ([`sample`]), and what many of them come to ([`aggregate`]).

pub mod aggregate;
pub mod args;
pub mod sample;
