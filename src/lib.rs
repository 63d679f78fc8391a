//! A wrapper put in front of a worker's command line: it takes the telemetry that the worker prints to stderr out
//! of it and serves it as a gRPC stream, for workers that can print a line and no more.
//!
//! # A tour, along the flow of the data
//!
//! ```text
//! live | replay → splitter ─┬→ passthrough (stderr)
//!                           └→ decode → batch → hub ─┬→ grpc (subscribers)
//!                                                    └→ exporter
//! ```
//!
//! - [`pipeline::live`] reads a worker's pipe, [`pipeline::recording`] recorded files; both feed the same [`pipeline`].
//! - [`input::splitter`] finds telemetry in the bytes. It is pure: no input, no output, no clock.
//! - [`pipeline::passthrough`] writes everything else to stderr, whatever state that is in.
//! - [`input::decode`] turns a line's JSON into an encoded event, once; a [batch](event::batch) holds many, ready to send.
//! - [`hub`] fans batches out to consumers, each with its [`control`]s and a bounded queue. It knows neither gRPC
//!   nor exporters.
//! - [`grpc`] serves subscribers, [`exporter`] carries events elsewhere, [`pipeline::record`] keeps the raw bytes.
//! - [`system::fd`] opens and writes what options name and streams that were inherited.
//! - [`worker`] starts the process, passes signals on, and leaves as it left.
//! - [`cli`] parses words, [`config`] makes values of them, [`app`] wires everything and ends it in order.
//!
//! # What holds throughout
//!
//! - Every byte, line and event is accounted for ([`event::stats`]); the books balance at every batch's boundary.
//! - After the worker is spawned no fault of the sidecar's ends it or changes its exit status.
//! - Memory is bounded by the line limit and the queues, whatever the worker writes and whoever does not read.
//! - Nothing asynchronous touches the standard descriptors; only one thread writes stderr.

#![deny(missing_docs)]

pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod event;
pub mod exporter;
pub mod grpc;
pub mod hub;
pub mod input;
pub mod net;
pub mod pipeline;
pub mod system;
pub mod worker;
