//! Tests of the binary, started as a process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod accounting;
mod cli;
mod decode;
mod ending;
mod faults;
mod fleet;
mod lifecycle;
mod limits;
mod losses;
mod observers;
mod ready_file;
mod replay;
mod security;
mod serve;
mod snakepit;
mod streams;
mod summary;
#[path = "../support/mod.rs"]
mod support;
mod tail;
mod templates;
mod transparency;
mod unix_socket;
mod upstream;
mod vitals;
mod wrap;
