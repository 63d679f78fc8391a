//! `expect`: the events of a run, compared with those of a golden file.
//!
//! Both are compared as JSON lines without the ignored parts. The keys of an object are sorted, so their
//! order in the worker's line does not matter.

mod changes;
mod diff;
mod events;
mod fields;
mod file;

pub use diff::Diff;
pub use events::{Events, MAX_BYTES};
pub use fields::{Fields, Ignored};
pub use file::read;
