//! `--export-statsd`: metrics to a StatsD or DogStatsD server.

use super::metrics::sample::Measures;
use std::{path::PathBuf, str::FromStr};

/// The exporter's name in the books.
pub const NAME: &str = "statsd";

/// The options of the command line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to send.
    pub target: Target,
    /// What the server understands.
    pub dialect: Dialect,
    /// What names start with.
    pub prefix: String,
    /// What is measured.
    pub measures: Measures,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `udp://HOST:PORT`
    Udp(String),
    /// `unix:PATH`, a datagram socket.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let expected = || "expected udp://HOST:PORT or unix:PATH".to_owned();
        if let Some(path) = word.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            // Datadog's own clients write unix:///path.
            return Ok(Self::Unix(path.strip_prefix("//").unwrap_or(path).into()));
        }
        let address = word.strip_prefix("udp://").ok_or_else(expected)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
        if host.is_empty() || !matches!(port.parse::<u16>(), Ok(1..)) {
            return Err(expected());
        }
        Ok(Self::Udp(address.to_owned()))
    }
}

/// What a server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Etsy's StatsD: no tags.
    Statsd,
    /// Datadog's: tags.
    Dogstatsd,
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "statsd" => Ok(Self::Statsd),
            "dogstatsd" => Ok(Self::Dogstatsd),
            _ => Err("expected statsd or dogstatsd".into()),
        }
    }
}
