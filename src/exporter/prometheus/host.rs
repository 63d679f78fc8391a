//! The host names that the page is served for.
//!
//! An attacker can let the name of a web site resolve to 127.0.0.1 after a browser has loaded it ("DNS
//! rebinding"). To the browser the metrics page is then a part of that site, whose scripts can read it. The
//! browser still sends the site's name in `Host`, so a request for a name that is not this page's is refused,
//! with 421 (Misdirected Request). No response has headers that allow other origins to read it.

use crate::net::address::{Address, HostPort, ResolvedAddress};
use http::{HeaderMap, StatusCode, Uri, Version, header::HOST};
use nix::unistd::gethostname;
use std::net::{IpAddr, Ipv6Addr};

/// What a name may consist of besides letters and digits, as RFC 3986 defines it.
const NAME_PUNCTUATION: &[u8] = b"-._~%!$&'()*+,;=";

/// The names that are allowed besides IP addresses and `localhost`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// The names that an option allows, the name of the listener, and this machine's own name if other hosts
    /// can reach the listener.
    pub(crate) fn new(listener: &ResolvedAddress, mut names: Vec<String>) -> Self {
        if let Address::Tcp(HostPort { host, .. }) = listener.address() {
            names.push(host.clone());
        }
        if !listener.is_local() {
            names.extend(gethostname().ok().and_then(|name| name.into_string().ok()));
        }
        Self(names)
    }

    /// Whether the page is served for the host that a request names.
    ///
    /// # Errors
    ///
    /// The status of the refusal: 400 if `Host` is missing, repeated or malformed, 421 if it is not allowed.
    pub(crate) fn check(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), StatusCode> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().map_err(|_| StatusCode::BAD_REQUEST)?,
            // Browsers send at least HTTP/1.1, for which `Host` is required.
            (None, _) if version < Version::HTTP_11 => return Ok(()),
            _ => return Err(StatusCode::BAD_REQUEST),
        };
        // The host of a complete URI in the request line replaces the one in the header (RFC 9112, 3.2.2).
        let host = uri.authority().map_or(host, |authority| authority.as_str());
        match host_of(host).ok_or(StatusCode::BAD_REQUEST)? {
            Host::Ip => Ok(()),
            Host::Name(name) if self.has(name) => Ok(()),
            Host::Name(_) => Err(StatusCode::MISDIRECTED_REQUEST),
        }
    }

    fn has(&self, name: &str) -> bool {
        let without_dot = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let name = without_dot(name);
        name == "localhost" || self.0.iter().any(|allowed| without_dot(allowed) == name)
    }
}

enum Host<'a> {
    Ip,
    Name(&'a str),
}

/// The host of `HOST[:PORT]`; none if it is malformed.
fn host_of(text: &str) -> Option<Host<'_>> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
        return (has_port && ip.parse::<Ipv6Addr>().is_ok()).then_some(Host::Ip);
    }
    let (name, port) = text.split_once(':').unwrap_or((text, ""));
    if !is_number(port) || !is_name(name) {
        return None;
    }
    Some(if name.parse::<IpAddr>().is_ok() { Host::Ip } else { Host::Name(name) })
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this can be the name of a host.
pub(crate) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || NAME_PUNCTUATION.contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(listener: &str, names: &[&str]) -> AllowedHosts {
        let listener = listener.parse::<Address>().unwrap().resolve().unwrap();
        AllowedHosts::new(&listener, names.iter().map(ToString::to_string).collect())
    }

    /// The status for a request with these `Host` headers.
    fn status(hosts: &AllowedHosts, version: Version, uri: &str, values: &[&str]) -> u16 {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HOST, value.parse().unwrap());
        }
        hosts.check(version, &uri.parse().unwrap(), &headers).map_or_else(|status| status.as_u16(), |()| 200)
    }

    #[test]
    fn ip_addresses_localhost_and_the_names_of_the_listener_are_served() {
        let hosts = allowed("localhost:9464", &["Metrics.example."]);
        let get = |host: &str| status(&hosts, Version::HTTP_11, "/metrics", &[host]);
        let served = [
            "127.0.0.1",
            "127.0.0.1:9464",
            "192.0.2.7:1",
            "[::1]",
            "[::1]:9464",
            "localhost",
            "LocalHost:80",
            "localhost.",
            "localhost:",
            "metrics.example",
            "METRICS.example:443",
        ];
        for host in served {
            assert_eq!(get(host), 200, "{host}");
        }
        let others = [
            "attacker.example",
            "attacker.example:9464",
            "localhost.attacker.example",
            "metrics",
            "127.1",
            "127.0.0.1.attacker.example",
            "xlocalhost",
            "localhost..",
            "metrics.example.evil",
            "%6cocalhost",
        ];
        for host in others {
            assert_eq!(get(host), 421, "{host}");
        }
        for host in [
            "",
            ":80",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "[localhost]",
            "a:b",
            "a:1:2",
            "::1",
            "a b",
            "a/b",
            "u@a",
        ] {
            assert_eq!(get(host), 400, "{host}");
        }
    }

    #[test]
    fn this_machines_name_is_served_if_other_hosts_can_reach_the_page() {
        let own = gethostname().unwrap().into_string().unwrap();
        let get = |hosts: &AllowedHosts, host: &str| status(hosts, Version::HTTP_11, "/", &[host]);
        let public = allowed("0.0.0.0:9464", &[]);
        assert_eq!((get(&public, &own), get(&public, "attacker.example")), (200, 421));
        if own != "localhost" {
            assert_eq!(get(&allowed("127.0.0.1:9464", &[]), &own), 421);
        }
    }

    #[test]
    fn exactly_one_host_is_required_since_http_1_1() {
        let hosts = allowed("127.0.0.1:9464", &[]);
        assert_eq!(status(&hosts, Version::HTTP_11, "/metrics", &[]), 400);
        assert_eq!(status(&hosts, Version::HTTP_11, "/metrics", &["localhost", "localhost"]), 400);
        assert_eq!(status(&hosts, Version::HTTP_10, "/metrics", &[]), 200);
        assert_eq!(status(&hosts, Version::HTTP_10, "/metrics", &["attacker.example"]), 421);
    }

    #[test]
    fn the_host_of_a_complete_uri_replaces_the_header() {
        let hosts = allowed("127.0.0.1:9464", &[]);
        let get = |uri, host| status(&hosts, Version::HTTP_11, uri, &[host]);
        assert_eq!(get("http://127.0.0.1:9464/metrics", "attacker.example"), 200);
        assert_eq!(get("http://attacker.example/metrics", "127.0.0.1"), 421);
        assert_eq!(get("http://user@127.0.0.1/metrics", "127.0.0.1"), 400);
    }
}
