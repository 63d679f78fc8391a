//! `--export-prometheus`: metrics for Prometheus to scrape.

use super::metrics::sample::Measures;
use crate::grpc::listener::Address;

/// The exporter's name in the books.
pub const NAME: &str = "prometheus";

/// The options of the command line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to serve.
    pub address: Address,
    /// What is measured.
    pub measures: Measures,
    /// How many series a metric may have.
    pub max_series: usize,
}
