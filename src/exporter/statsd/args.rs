//! The options of StatsD, and what they come to. Variables of Datadog and StatsD have the rest
//! (`environment`).

use super::target::Target;
use crate::{
    exporter::metrics::{PREFIX, sample::Measures},
    system::{
        option::{Given, Origin, named, one_of, value},
        value::{Wanted, switch, wanted},
    },
};
use clap::{ArgAction, Args, ValueEnum};
use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
};

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct StatsdArgs {
    /// Send metrics to a StatsD server
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        default_missing_value = "1",
        env = "TELEMETRY_SIDECAR_EXPORT_STATSD",
        value_parser = value(wanted(str::parse::<Target>)),
        long_help = "Send metrics to a StatsD server: udp://HOST:PORT, or unix:PATH (a datagram socket). \
            Without an address that of DD_DOGSTATSD_URL, DD_AGENT_HOST and DD_DOGSTATSD_PORT, or STATSD_HOST \
            and STATSD_PORT, else udp://127.0.0.1:8125; the variable is 1 then"
    )]
    export_statsd: Option<Wanted<Target>>,

    /// Dialect that the StatsD server understands [default: dogstatsd with DD_ addresses, else statsd]
    #[arg(
        long,
        value_name = "DIALECT",
        value_enum,
        env = "TELEMETRY_SIDECAR_STATSD_DIALECT",
        value_parser = one_of::<Dialect>(),
        long_help = "Dialect that the StatsD server understands [default: dogstatsd if a DD_ variable has \
            the address, else statsd]"
    )]
    statsd_dialect: Option<Dialect>,

    /// Send durations as distributions, which Datadog aggregates over all hosts
    #[arg(
        long,
        action = ArgAction::SetTrue,
        env = "TELEMETRY_SIDECAR_STATSD_DISTRIBUTIONS",
        value_parser = named(switch)
    )]
    statsd_distributions: Given<bool>,

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
        let target = match self.export_statsd? {
            Wanted::Off => return None,
            Wanted::On => None,
            Wanted::At(target) => Some(target),
        };
        let Given { value: distributions, origin } = self.statsd_distributions;
        Some(Settings {
            target,
            dialect: self.statsd_dialect,
            distributions: distributions.then_some(origin),
            prefix: self.statsd_prefix,
            measures: measures.clone(),
        })
    }
}

/// What to send where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to send; without it the address of the variables.
    pub target: Option<Target>,
    /// The server's dialect; without it the one that goes with the address.
    pub dialect: Option<Dialect>,
    /// The option that makes durations distributions, if it is on.
    pub distributions: Option<Origin>,
    /// What names start with.
    pub prefix: Prefix,
    /// What is measured.
    pub measures: Measures,
}

/// A dialect of the StatsD protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Dialect {
    /// Etsy's original: no tags
    #[default]
    Statsd,
    /// Datadog's: tags from --metric-label and DD_ variables, histograms, distributions
    Dogstatsd,
}

impl Display for Dialect {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Statsd => "statsd",
            Self::Dogstatsd => "dogstatsd",
        })
    }
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
    fn a_prefix_ends_with_one_dot() {
        for (word, prefix) in [("", ""), ("a", "a."), ("a.b.", "a.b."), (".", "")] {
            assert_eq!(word.parse::<Prefix>().unwrap().as_str(), prefix);
        }
        for wrong in ["a|b", "a:b", "a b", "ä", "a\n"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }
}
