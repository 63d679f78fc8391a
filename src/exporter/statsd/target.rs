//! Addresses of StatsD servers.

use crate::net::{address::HostPort, unix_socket::check_length};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The port of StatsD, and of Datadog's agent.
pub const PORT: u16 = 8125;

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

    /// A URL as Datadog's clients take it: the port may be missing.
    pub(super) fn from_url(url: &str) -> Result<Self, String> {
        match url.strip_prefix("udp://").map(|rest| rest.trim_end_matches('/')) {
            // An IPv6 address without its brackets is not a host without a port.
            Some(host) if !host.is_empty() && (host.ends_with(']') || !host.contains(':')) => {
                format!("udp://{host}:{PORT}").parse()
            }
            Some(address) => format!("udp://{address}").parse(),
            None => url.parse(),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let expected = || "expected udp://HOST:PORT or unix:PATH".to_owned();
        if word.starts_with("unixstream:") {
            return Err(format!("stream sockets are not supported, {}", expected()));
        }
        // Datadog's own clients write unix:///path and unixgram:///path.
        let path = word.strip_prefix("unix:").or_else(|| word.strip_prefix("unixgram:"));
        if let Some(path) = path {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_udp_or_unix() {
        for address in ["localhost:8125", "10.0.0.1:1", "[::1]:8125"] {
            assert_eq!(format!("udp://{address}").parse(), Ok(Target::Udp(address.parse().unwrap())));
        }
        for word in ["unix:/run/s", "unix:///run/s", "unixgram:///run/s"] {
            assert_eq!(word.parse(), Ok(Target::Unix("/run/s".into())));
        }
        for wrong in ["", "localhost:8125", "udp://", "udp://:8125", "udp://h", "udp://h:0", "udp://::1:8125"]
        {
            assert!(wrong.parse::<Target>().unwrap_err().contains("udp://HOST:PORT"), "{wrong}");
        }
        assert!("unix:".parse::<Target>().is_err());
        let stream = "unixstream:///run/s".parse::<Target>().unwrap_err();
        assert!(stream.starts_with("stream sockets are not supported"), "{stream}");
        let of_length = |bytes: usize| format!("unix:/{}", "x".repeat(bytes - 1)).parse::<Target>();
        assert!(of_length(107).is_ok());
        assert_eq!(of_length(108), Err("the path is too long for a unix socket (107 bytes at most)".into()));
    }

    #[test]
    fn the_port_of_a_url_may_be_missing() {
        for (url, expected) in [
            ("udp://h", "udp://h:8125"),
            ("udp://h/", "udp://h:8125"),
            ("udp://h:1/", "udp://h:1"),
            ("udp://[::1]", "udp://[::1]:8125"),
            ("unix:///run/s", "unix:/run/s"),
        ] {
            assert_eq!(Target::from_url(url).map(|target| target.to_string()), Ok(expected.to_owned()));
        }
        for wrong in ["", "h", "udp://", "udp://::1", "udp://h:x", "http://h:1"] {
            assert!(Target::from_url(wrong).is_err(), "{wrong}");
        }
    }
}
