//! Events: the protobuf types, batches of encoded messages, how those are read, the JSON form, and the
//! counters.

pub mod batch;
pub mod ended;
pub mod frame;
pub mod json;
pub mod metadata;
pub mod proto;
pub mod stats;
pub mod view;
pub mod wire;
