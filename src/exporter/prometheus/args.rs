//! The options of Prometheus, and what they come to.

use crate::{
    exporter::metrics::sample::Measures,
    net::address::{Address, HostPort, HostPortError, ResolvedAddress},
    system::option::{Given, named},
};
use clap::Args;

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct PrometheusArgs {
    /// Serve metrics for Prometheus
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TELEMETRY_SIDECAR_EXPORT_PROMETHEUS",
        value_parser = named(address),
        long_help = "Serve metrics for Prometheus at http://HOST:PORT/metrics; another host can reach it \
            only with \
            --insecure"
    )]
    export_prometheus: Option<Given<HostPort>>,
}

/// What to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to serve.
    pub address: Given<ResolvedAddress>,
    /// What is measured.
    pub measures: Measures,
    /// How many series a metric may have.
    pub max_series: usize,
}

impl PrometheusArgs {
    /// What to serve, if the exporter is on. `insecure` allows an address that other hosts can reach.
    ///
    /// # Errors
    ///
    /// If other hosts can reach the address and that is not allowed, or it cannot be resolved.
    pub fn settings(
        self,
        measures: &Measures,
        max_series: usize,
        insecure: bool,
    ) -> Result<Option<Settings>, String> {
        let Some(Given { value: address, origin }) = self.export_prometheus else { return Ok(None) };
        let address = Address::Tcp(address).resolve().map_err(|cause| origin.error(cause))?;
        if !insecure && !address.is_local() {
            return Err(origin.error("other hosts can reach it: use 127.0.0.1, or allow it with --insecure"));
        }
        let address = Given { value: address, origin };
        Ok(Some(Settings { address, measures: measures.clone(), max_series }))
    }
}

fn address(word: &str) -> Result<HostPort, String> {
    if word.starts_with("unix:") {
        return Err("Prometheus scrapes HOST:PORT only".into());
    }
    word.parse().map_err(|error: HostPortError| error.to_string())
}
