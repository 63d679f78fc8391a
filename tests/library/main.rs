//! Tests of the library, in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod allocations;
mod architecture;
mod decode;
mod documents;
mod fixtures;
mod flush;
mod globs;
mod hub;
mod log;
mod splitter;
mod support;
