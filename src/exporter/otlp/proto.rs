//! The generated OTLP messages: `proto/opentelemetry/`, whose README names the version.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    rustdoc::all,
    reason = "generated; the .proto files are the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/opentelemetry.rs"));

pub use opentelemetry::proto::*;
