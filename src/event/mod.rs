//! Events: the protobuf types, batches of encoded messages, the JSON form, and the counters.

pub mod batch;
pub mod frame;
pub mod json;
pub mod metadata;
pub mod proto;
pub mod stats;
