//! From a worker's bytes to events. Nothing here does input or output, reads a clock or knows a descriptor.

pub mod decode;
pub mod dialect;
mod escape_sequence;
pub mod splitter;
