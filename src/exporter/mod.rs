//! Exporters: consumers of the hub that carry events elsewhere.

pub mod jsonl;
