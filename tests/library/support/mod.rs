//! Input for property tests, and models to compare the library with.

mod checked;
pub mod events;
pub mod outcome;
pub mod reader;
