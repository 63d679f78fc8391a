//! A wrapper for a worker's command line. It takes the telemetry lines that the worker prints to stderr out
//! of that stream and serves them as gRPC, for workers that can do no more than print a line.
//!
//! The program is `telemetry-sidecar`; see the README for its use. This library contains all of it, so that
//! tests, benchmarks and fuzz targets can use its parts.
//!
//! # Flow of the data
//!
//! ```text
//! worker's pipe | recording → splitter ─┬→ pass-through (stderr)
//!                                       ├→ lines → log records (one exporter)
//!                                       └→ decoder → batch ─┐
//! the worker's own stream (upstream) ───────────────────────┼→ hub ─┬→ gRPC subscribers
//! the worker seen from outside (observer) ──────────────────┘       └→ exporters
//! ```
//!
//! # Layout
//!
//! A file uses its own room and rooms of lower rank. So rooms never form a circle, an exporter does not use
//! `grpc`, and the hub does not know its outputs. `tests/library/architecture.rs` reads this table and checks
//! it.
//!
//! ```text
//! rank  room      contents
//!    0  system    descriptors, the log, locks
//!    0  event     protobuf types, batches and views of encoded events, gRPC framing, JSON form, counters
//!    1  control   filters and sampling rates of a consumer, globs
//!    1  worker    start, signals, supervision and exit of the worker
//!    2  hub       fan-out of batches to consumers
//!    2  net       addresses, listeners, Unix sockets, TLS, tokens
//!    2  terminal  text for people: tables, colours, units, sparklines; standard output
//!    2  input     splitter, decoder, dialect of telemetry lines
//!    3  pipeline  sources, pass-through, recording, publishing, the lifecycle of outputs
//!    3  observer  what the sidecar sees of the worker from outside
//!    3  golden    a run's events, compared with a golden file
//!    3  status    one report of all counters
//!    3  upstream  a worker that serves gRPC itself, or that a pool takes for one that does
//!    4  grpc      the gRPC server and its services
//!    4  exporter  JSON Lines, OTLP, Prometheus, StatsD; operations and measurements for people
//!    5  fleet     the sidecars of this host, and connections to them
//!    6  cli       options and subcommands
//!    7  config    checks between options
//!    8  app       the order of start and drain
//!    9  main      parse, run, exit code
//! ```
//!
//! Where to start reading:
//!
//! - [`pipeline`] connects a source ([`pipeline::live`] or [`pipeline::recording`]) with the splitter, the
//!   decoder and the hub.
//! - [`input::splitter`] finds telemetry lines in a byte stream; [`input::decode`] turns the JSON of a line
//!   into an encoded event; [`input::dialect`] is what such lines look like.
//! - [`event::batch`] holds many encoded events in one allocation.
//! - [`hub`] gives each batch to all consumers. Each has its filters ([`control`]) and a bounded queue.
//! - [`upstream`] relays calls to a worker that serves gRPC itself.
//! - [`worker`] starts the worker, forwards signals, and exits as the worker exited.
//! - [`app`] starts the parts and drains them in order.
//!
//! # Invariants
//!
//! - Every byte, line and event is counted ([`event::stats`]), and the counters add up after every batch.
//! - Once the worker runs, no failure of the sidecar ends it or changes its exit status.
//! - Memory is bounded by the line limit and the queues, whatever the worker writes and however slowly others
//!   read.
//! - `input` and `control` do no input or output and read no clock.
//! - An event is encoded once. Subscribers and exporters share its bytes.
//! - Only one thread writes to stderr, and it does not serve while it waits for stderr's reader.
//!
//! # Stability
//!
//! The command line, the `.proto` files and the names of metrics are the interface of this project. The
//! modules below are its implementation: they are public for this package's own binary, tests, benchmarks and
//! fuzz targets, and change without notice.

pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod event;
pub mod exporter;
pub mod fleet;
pub mod golden;
pub mod grpc;
pub mod hub;
pub mod input;
pub mod net;
pub mod observer;
pub mod pipeline;
pub mod status;
pub mod system;
pub mod terminal;
pub mod upstream;
pub mod worker;
