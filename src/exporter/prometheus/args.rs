//! The options of Prometheus, and what they come to.

use super::{
    host::{AllowedHosts, is_name},
    names::Prefix,
};
use crate::{
    exporter::{
        metrics::{self, sample::Measures},
        otlp::run_span::RunSpan,
    },
    net::address::{Address, HostPort, HostPortError, ResolvedAddress, address_of_port},
    system::{
        option::{Given, Several, named, path, repeated, value},
        value::switch,
    },
};
use clap::Args;
use std::{path::PathBuf, sync::Arc};

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
            only with --prometheus-insecure"
    )]
    export_prometheus: Option<Given<HostPort>>,

    /// Allow a metrics page that other hosts can read
    #[arg(
        long,
        env = "TELEMETRY_SIDECAR_PROMETHEUS_INSECURE",
        value_parser = value(switch),
        long_help = "Allow a metrics page that other hosts can read: it has neither TLS nor authentication"
    )]
    prometheus_insecure: bool,

    /// Serve the metrics page for this host name, too; repeatable
    #[arg(
        long,
        value_name = "NAME",
        env = "TELEMETRY_SIDECAR_PROMETHEUS_ALLOWED_HOST",
        value_parser = repeated(host_name),
        long_help = "Serve the metrics page for this host name, too; repeatable. IP addresses, localhost, \
            the host of --export-prometheus and, if other hosts can reach the page, this machine's name are \
            always allowed; a request for another host is refused"
    )]
    prometheus_allowed_host: Vec<Several<String>>,

    /// Write a target file for Prometheus' file_sd_configs to this directory
    #[arg(
        long,
        value_name = "DIR",
        env = "TELEMETRY_SIDECAR_PROMETHEUS_TARGETS_DIR",
        value_parser = path(),
        long_help = "Write a target file for Prometheus' file_sd_configs to this directory before the worker \
            starts, and remove it at the end; needs --export-prometheus"
    )]
    prometheus_targets_dir: Option<Given<PathBuf>>,

    /// Prefix of the names of the worker's metrics
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = metrics::PREFIX,
        env = "TELEMETRY_SIDECAR_PROMETHEUS_PREFIX",
        value_parser = value(str::parse::<Prefix>),
        long_help = "Prefix of the names of the worker's metrics, without the underscore after it"
    )]
    prometheus_prefix: Prefix,

    /// Also serve those of the sidecar's own series that are left out while they are zero
    #[arg(long, env = "TELEMETRY_SIDECAR_PROMETHEUS_ALL", value_parser = value(switch))]
    prometheus_all: bool,
}

/// What to serve.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to serve.
    pub address: Given<ResolvedAddress>,
    /// The host names that it is served for.
    pub(super) allowed_hosts: AllowedHosts,
    /// Where to write a target file.
    pub targets_dir: Option<Given<PathBuf>>,
    /// What is measured.
    pub measures: Measures,
    /// How many series a metric may have.
    pub max_series: usize,
    /// The span of the run that the OTLP exporter sends, if there is one.
    pub run: Option<Arc<RunSpan>>,
    /// What the names of the worker's metrics start with.
    pub(super) prefix: Prefix,
    /// Whether to serve all series of the sidecar itself.
    pub(super) all: bool,
}

impl PrometheusArgs {
    /// What to serve, if the exporter is on.
    ///
    /// # Errors
    ///
    /// If other hosts can reach the address and that is not allowed, or it cannot be resolved.
    pub fn settings(
        self,
        measures: &Measures,
        max_series: usize,
        run: Option<Arc<RunSpan>>,
    ) -> Result<Option<Settings>, String> {
        let Some(Given { value: address, origin }) = self.export_prometheus else { return Ok(None) };
        let address = Address::Tcp(address).resolve().map_err(|cause| origin.error(cause))?;
        if !self.prometheus_insecure && !address.is_local() {
            return Err(origin.error(
                "other hosts could read it without TLS and authentication: use 127.0.0.1, or allow it with \
                 --prometheus-insecure",
            ));
        }
        let names = Several::flatten(self.prometheus_allowed_host).map(|name| name.value).collect();
        let allowed_hosts = AllowedHosts::new(&address, names);
        let address = Given { value: address, origin };
        Ok(Some(Settings {
            address,
            allowed_hosts,
            targets_dir: self.prometheus_targets_dir,
            measures: measures.clone(),
            max_series,
            run,
            prefix: self.prometheus_prefix,
            all: self.prometheus_all,
        }))
    }
}

fn host_name(word: &str) -> Result<String, String> {
    if word.contains('*') {
        Err("expected the name of one host: '*' has no special meaning".into())
    } else if is_name(word) {
        Ok(word.to_owned())
    } else {
        Err("expected the name of a host, without a port".into())
    }
}

/// The address of a page.
pub(crate) fn address(word: &str) -> Result<HostPort, String> {
    if word.starts_with("unix:") {
        return Err("Prometheus scrapes HOST:PORT only".into());
    }
    word.parse().map_err(|error| match (&error, address_of_port(word)) {
        (HostPortError::Malformed, Some(meant)) => format!("{error}, such as {meant}"),
        _ => error.to_string(),
    })
}
