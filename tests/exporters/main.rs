//! Tests of the exporters: the library's, and the binary's against servers that the tests run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod http;
mod otlp;
mod prometheus;
mod several;
mod statsd;
#[path = "../support/mod.rs"]
mod support;
