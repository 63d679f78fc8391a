//! The options of the command line.

use crate::{
    exporter::metrics::sample::Measures,
    net::{address::HostPort, unix_socket::check_length},
};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// What to send where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to send.
    pub target: Target,
    /// What the server understands.
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
    /// The longest datagram, in bytes: over UDP what StatsD's documentation has for Ethernet, on a unix socket what
    /// Datadog's agent reads at a time:
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
            check_length(Path::new(path))?;
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

/// Whether a name may have it. What means something to one server or another is left out: `|`, `:`, `@` and `#` to all,
/// `;` and `,` to those that have tags in names, `/` and `*` to Graphite.
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
