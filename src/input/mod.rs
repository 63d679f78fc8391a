//! From a worker's bytes to events: pure, without input or output, clock or descriptor.

pub mod decode;
pub mod splitter;
