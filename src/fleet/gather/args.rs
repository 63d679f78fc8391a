//! The options of `gather`.

use crate::{
    exporter::prometheus::{
        args::address,
        host::{AllowedHosts, is_name},
    },
    fleet::args::ClientArgs,
    net::address::{Address, HostPort, ResolvedAddress},
    system::{
        log::{self, Format, Level},
        option::{Given, Several, named, repeated, value},
        template::path_template,
        value::{Period, nonzero_duration},
    },
};
use clap::{ArgAction, Args};
use std::{path::PathBuf, time::Duration};

/// Beside the port that Prometheus' own exporters use.
const LISTEN: &str = "127.0.0.1:9465";

/// Often enough that a page is never old, and seldom enough that it costs a worker's sidecar nothing.
const INTERVAL: Period = Period(Duration::from_secs(2));

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gather")]
pub struct GatherArgs {
    /// Serve at HOST:PORT
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = LISTEN,
        value_parser = named(address),
        long_help = "Serve at HOST:PORT: /metrics is one page for all workers, /sd has the page of each for \
            Prometheus' http_sd_configs. Port 0 is any free port"
    )]
    pub listen: Given<HostPort>,

    /// Time between two fetches of the sidecars' pages
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = INTERVAL,
        value_parser = value(nonzero_duration),
        long_help = "Time between two fetches of the sidecars' pages, and between two looks for new \
            sidecars. A request for /metrics fetches them, too"
    )]
    pub interval: Period,

    /// Allow an address that other hosts can reach
    #[arg(
        long,
        long_help = "Allow an address that other hosts can reach: there is neither TLS nor authentication"
    )]
    pub insecure: bool,

    /// Serve for this host name, too; repeatable
    #[arg(
        long,
        value_name = "NAME",
        value_parser = repeated(host_name),
        long_help = "Serve for this host name, too; repeatable. IP addresses, localhost, the host of \
            --listen and, if other hosts can reach it, this machine's name are always allowed; a request for \
            another host is refused"
    )]
    pub allowed_host: Vec<Several<String>>,

    /// Write the port to this file
    #[arg(long, value_name = "PATH", value_parser = path_template())]
    pub ready_file: Option<Given<PathBuf>>,

    /// Do not print which sidecars are gathered and which are not
    #[arg(short, long)]
    pub quiet: bool,

    /// Log to stderr when workers start and end; -vv for more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,

    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// What to gather, and where to serve it.
#[derive(Debug)]
pub struct Settings {
    /// Where to serve.
    pub address: Given<ResolvedAddress>,
    /// Time between two fetches.
    pub interval: Duration,
    /// The host names that it is served for.
    pub(crate) hosts: AllowedHosts,
    /// What to log.
    pub log: log::Settings,
    /// Whether to suppress messages about sidecars that are gathered or left out.
    pub quiet: bool,
}

impl GatherArgs {
    /// What to gather, and the options of connections.
    ///
    /// # Errors
    ///
    /// If other hosts can reach the address and that is not allowed, or it cannot be resolved.
    pub fn settings(self) -> Result<(Settings, ClientArgs), String> {
        let Given { value: address, origin } = self.listen;
        let address = Address::Tcp(address).resolve().map_err(|cause| origin.error(cause))?;
        if !self.insecure && !address.is_local() {
            return Err(origin.error(
                "other hosts could read it without TLS and authentication: use 127.0.0.1, or allow it with \
                 --insecure",
            ));
        }
        let names = Several::flatten(self.allowed_host).map(|name| name.value).collect();
        let settings = Settings {
            hosts: AllowedHosts::new(&address, names),
            address: Given { value: address, origin },
            interval: self.interval.0,
            log: log::Settings { level: Level::from_count(self.verbose), format: Format::default() },
            quiet: self.quiet,
        };
        Ok((settings, self.client))
    }
}

fn host_name(word: &str) -> Result<String, &'static str> {
    if is_name(word) && !word.contains('*') {
        Ok(word.to_owned())
    } else {
        Err("expected the name of a host, without a port")
    }
}
