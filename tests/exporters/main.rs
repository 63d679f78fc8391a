//! Tests of the exporters: of the library, and of the binary with servers that run in the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod http;
mod otlp;
mod prometheus;
mod several;
mod statsd;
#[path = "../support/mod.rs"]
mod support;
