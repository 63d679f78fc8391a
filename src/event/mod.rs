//! Events: the protobuf types, batches of encoded messages, their JSON form, and the counters of what became of them.

pub mod batch;
pub mod frame;
pub mod json;
pub mod proto;
pub mod stats;
