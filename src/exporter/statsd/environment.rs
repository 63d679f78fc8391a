//! The variables of Datadog's clients, and those of StatsD's. The worker inherits them unchanged.
//!
//! | variable | use |
//! | --- | --- |
//! | `DD_DOGSTATSD_URL` | the address, if the option has none |
//! | `DD_AGENT_HOST`, `DD_DOGSTATSD_PORT` | else the address |
//! | `STATSD_HOST`, `STATSD_PORT` | else the address |
//! | `DD_TAGS` | tags of every line |
//! | `DD_ENTITY_ID`, `DD_ENV`, `DD_SERVICE`, `DD_VERSION` | a tag each |
//! | `DD_ORIGIN_DETECTION_ENABLED` | whether lines name the container |
//! | `DD_EXTERNAL_ENV` | what Datadog's admission controller says of the container |
//!
//! Lines have tags in the DogStatsD dialect only. An empty variable counts as unset, and so does one with an
//! invalid value, which is logged; an address that cannot be used is an error. See
//! <https://docs.datadoghq.com/developers/dogstatsd/> and Datadog's own clients.

use super::{
    args::Dialect,
    lines::Common,
    origin,
    tags::Tag,
    target::{PORT, Target},
};
use std::{ffi::OsString, fmt::Display, net::Ipv6Addr};

/// The tag of each variable.
const TAGS: [(&str, &str); 4] = [
    ("DD_ENTITY_ID", "dd.internal.entity_id"),
    ("DD_ENV", "env"),
    ("DD_SERVICE", "service"),
    ("DD_VERSION", "version"),
];

/// A server on this host.
const HOST: &str = "127.0.0.1";

/// What the options and the environment come to.
#[derive(Debug)]
pub struct Environment {
    pub target: Target,
    /// The option or the variable that has the target.
    pub source: &'static str,
    pub dialect: Dialect,
    /// What every line has.
    pub common: Common,
    /// Variables that are ignored, and why.
    pub warnings: Vec<String>,
}

impl Environment {
    /// Reads the variables. What the options have takes precedence.
    ///
    /// # Errors
    ///
    /// If the address of a variable is needed and cannot be used, in one line that names the variable.
    pub fn read(
        target: Option<Target>,
        dialect: Option<Dialect>,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let mut reader = Reader { variable, warnings: Vec::new() };
        let (target, likely, source) = match target {
            Some(target) => (target, Dialect::default(), "--export-statsd"),
            None => reader.address()?,
        };
        let dialect = dialect.unwrap_or(likely);
        let common = match dialect {
            Dialect::Statsd => Common::default(),
            Dialect::Dogstatsd => Common { tags: reader.tags(), origin: reader.origin(origin::detect) },
        };
        Ok(Self { target, source, dialect, common, warnings: reader.warnings })
    }
}

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn set(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// A variable that can be ignored.
    fn text(&mut self, name: &str) -> Option<String> {
        let text = self.set(name)?.into_string();
        let text = text.map_err(|value| self.warn(name, &value.to_string_lossy(), "not UTF-8")).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A variable without which there is no address.
    fn required<T, E: Display>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.set(name) else { return Ok(None) };
        let wrong = |cause: &dyn Display| format!("{name}: '{}': {cause}", value.display());
        let text = value.to_str().ok_or_else(|| wrong(&"not UTF-8"))?;
        parse(text.trim()).map(Some).map_err(|cause| wrong(&cause))
    }

    fn warn(&mut self, name: &str, value: &str, cause: &str) {
        self.warnings.push(format!("{name}: '{value}': {cause}; it is ignored"));
    }

    /// The server's address, the dialect that it most likely understands, and where the address is from.
    fn address(&self) -> Result<(Target, Dialect, &'static str), String> {
        const URL: &str = "DD_DOGSTATSD_URL";
        if let Some(target) = self.required(URL, Target::from_url)? {
            return Ok((target, Dialect::Dogstatsd, URL));
        }
        for (host, port, dialect) in [
            ("DD_AGENT_HOST", "DD_DOGSTATSD_PORT", Dialect::Dogstatsd),
            ("STATSD_HOST", "STATSD_PORT", Dialect::Statsd),
        ] {
            if self.set(host).is_none() && self.set(port).is_none() {
                continue;
            }
            let number = self.required(port, number)?.unwrap_or(PORT);
            let target = self.required(host, |text| server(text, number))?;
            let source = if target.is_some() { host } else { port };
            return Ok((target.map_or_else(|| server(HOST, number), Ok)?, dialect, source));
        }
        Ok((server(HOST, PORT)?, Dialect::default(), "the default"))
    }

    /// The tags of every line. `DD_TAGS` takes precedence over the variables of single tags.
    fn tags(&mut self) -> Vec<Tag> {
        let text = self.text("DD_TAGS").unwrap_or_default();
        // As Datadog's tracers read it: spaces separate tags unless commas do.
        let parts: Vec<_> = if text.contains(',') {
            text.split(',').map(str::trim).collect()
        } else {
            text.split_whitespace().collect()
        };
        let mut tags: Vec<_> = parts.into_iter().filter(|tag| !tag.is_empty()).map(Tag::new).collect();
        for (name, key) in TAGS {
            if let Some(value) = self.text(name)
                && !tags.iter().any(|tag| tag.key() == key)
            {
                tags.push(Tag::new(&format!("{key}:{value}")));
            }
        }
        tags
    }

    /// The fields that name the container, behind the tags.
    fn origin(&mut self, container: impl Fn() -> Option<String>) -> String {
        const ENABLED: &str = "DD_ORIGIN_DETECTION_ENABLED";
        let enabled = self.text(ENABLED).unwrap_or_default().to_ascii_lowercase();
        match enabled.as_str() {
            "0" | "f" | "false" | "n" | "no" | "off" => return String::new(),
            "" | "1" | "t" | "true" | "y" | "yes" | "on" => {}
            other => self.warn(ENABLED, other, "expected true or false"),
        }
        let container = container().map(|id| format!("|c:{id}"));
        let external = self.text("DD_EXTERNAL_ENV").map(|text| {
            // Nothing that ends the field or the line.
            text.chars().filter(|char| !char.is_control() && *char != '|').collect::<String>()
        });
        let external = external.filter(|text| !text.is_empty()).map(|text| format!("|e:{text}"));
        container.into_iter().chain(external).collect()
    }
}

/// A port that a server can have.
fn number(text: &str) -> Result<u16, &'static str> {
    text.parse().ok().filter(|port| *port > 0).ok_or("expected a port (1 to 65535)")
}

/// A server's address: a name, an IP address, either with a port, or a URL.
fn server(host: &str, port: u16) -> Result<Target, String> {
    if host.contains("://") || host.starts_with("unix:") {
        return Target::from_url(host);
    }
    let address = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{port}"),
        Err(_) if host.contains(':') => host.to_owned(),
        Err(_) => format!("{host}:{port}"),
    };
    format!("udp://{address}").parse().map_err(|_: String| "expected a host".to_owned())
}

#[cfg(test)]
mod tests;
