//! The options of StatsD, and what they come to.

use crate::{
    exporter::metrics::sample::Measures,
    net::{address::HostPort, unix_socket::check_length},
    system::option::{one_of, value},
};
use clap::{Args, ValueEnum};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Names start with the name of the pooler whose workers are counted.
const PREFIX: &str = "snakepit";

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct StatsdArgs {
    /// Send metrics to a StatsD server
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TELEMETRY_SIDECAR_EXPORT_STATSD",
        value_parser = value(str::parse::<Target>),
        long_help = "Send metrics to a StatsD server: udp://HOST:PORT, or unix:PATH (a datagram socket)"
    )]
    export_statsd: Option<Target>,

    /// Dialect that the StatsD server understands
    #[arg(
        long,
        value_name = "DIALECT",
        value_enum,
        default_value_t,
        env = "TELEMETRY_SIDECAR_STATSD_DIALECT",
        value_parser = one_of::<Dialect>()
    )]
    statsd_dialect: Dialect,

    /// Prefix of the names of StatsD metrics; a dot for none
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = PREFIX,
        env = "TELEMETRY_SIDECAR_STATSD_PREFIX",
        value_parser = value(str::parse::<Prefix>)
    )]
    statsd_prefix: Prefix,
}

impl StatsdArgs {
    /// What to send, if the exporter is on.
    pub fn settings(self, measures: &Measures) -> Option<Settings> {
        Some(Settings {
            target: self.export_statsd?,
            dialect: self.statsd_dialect,
            prefix: self.statsd_prefix,
            measures: measures.clone(),
        })
    }
}

/// What to send where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to send.
    pub target: Target,
    /// The server's dialect.
    pub dialect: Dialect,
    /// What names start with.
    pub prefix: Prefix,
    /// What is measured.
    pub measures: Measures,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `udp://HOST:PORT`
    Udp(HostPort),
    /// `unix:PATH`, a datagram socket.
    Unix(PathBuf),
}

impl Target {
    /// The longest datagram, in bytes: over UDP what StatsD's documentation has for Ethernet, on a unix
    /// socket what Datadog's agent reads at a time:
    /// <https://github.com/statsd/statsd/blob/master/docs/metric_types.md#multi-metric-packets>,
    /// <https://docs.datadoghq.com/developers/dogstatsd/high_throughput/>.
    pub fn max_datagram_bytes(&self) -> usize {
        match self {
            Self::Udp(_) => 1432,
            Self::Unix(_) => 8192,
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let expected = || "expected udp://HOST:PORT or unix:PATH".to_owned();
        if let Some(path) = word.strip_prefix("unix:") {
            // Datadog's own clients write unix:///path.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(expected());
            }
            check_length(Path::new(path)).map_err(|error| error.to_string())?;
            return Ok(Self::Unix(path.into()));
        }
        let address = word.strip_prefix("udp://").and_then(|address| address.parse().ok());
        address.filter(|address: &HostPort| address.port > 0).map(Self::Udp).ok_or_else(expected)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(formatter, "udp://{address}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A dialect of the StatsD protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dialect {
    /// Etsy's original: no tags
    #[default]
    Statsd,
    /// Datadog's: tags from --metric-label, histograms
    Dogstatsd,
}

/// What names start with: nothing, or a word with a dot behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// As it stands before a name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if !word.chars().all(is_name_char) {
            return Err("expected letters, digits, '_', '-' and '.'".into());
        }
        // Some clients' prefixes bring their dot.
        let word = word.trim_end_matches('.');
        Ok(Self(if word.is_empty() { String::new() } else { format!("{word}.") }))
    }
}

/// Whether a name may have it. What means something to one server or another is left out: `|`, `:`, `@` and
/// `#` to all, `;` and `,` to those that have tags in names, `/` and `*` to Graphite.
pub(super) fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_udp_or_unix() {
        for address in ["localhost:8125", "10.0.0.1:1", "[::1]:8125"] {
            assert_eq!(format!("udp://{address}").parse(), Ok(Target::Udp(address.parse().unwrap())));
        }
        for word in ["unix:/run/s", "unix:///run/s"] {
            assert_eq!(word.parse(), Ok(Target::Unix("/run/s".into())));
        }
        for wrong in ["", "localhost:8125", "udp://", "udp://:8125", "udp://h", "udp://h:0", "udp://::1:8125"]
        {
            assert!(wrong.parse::<Target>().unwrap_err().contains("udp://HOST:PORT"), "{wrong}");
        }
        assert!("unix:".parse::<Target>().is_err());
        let of_length = |bytes: usize| format!("unix:/{}", "x".repeat(bytes - 1)).parse::<Target>();
        assert!(of_length(107).is_ok());
        assert_eq!(of_length(108), Err("the path is too long for a unix socket (107 bytes at most)".into()));
    }

    #[test]
    fn a_prefix_ends_with_one_dot() {
        for (word, prefix) in [("", ""), ("a", "a."), ("a.b.", "a.b."), (".", "")] {
            assert_eq!(word.parse::<Prefix>().unwrap().as_str(), prefix);
        }
        for wrong in ["a|b", "a:b", "a b", "ä", "a\n"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }
}
