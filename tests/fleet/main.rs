//! Tests of commands that find all sidecars of this host. They are a program of their own: the sidecars of
//! other tests would be found as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod gather;
#[allow(dead_code, reason = "it is the client of the exporters' tests")]
#[path = "../exporters/http.rs"]
mod http;
#[path = "../support/mod.rs"]
mod support;
