//! Where the page of a sidecar is, and whether a page that was fetched there is of that process: once it has
//! ended another sidecar may have its port.

use super::family::{Family, Value};
use crate::{
    fleet::{discover::Sidecar, probe::Answer},
    net::address::Address,
};
use std::{net::SocketAddr, time::Duration};

/// The gauge that tells processes apart.
const START_TIME: &str = "telemetry_sidecar_start_time_seconds";

/// How much the two start times that a sidecar tells may differ, in seconds: one has been rounded.
const ROUNDING: f64 = 0.001;

/// Where a page is, and whose it is.
#[derive(Debug, PartialEq)]
pub(super) struct Origin {
    /// As the sidecar says it.
    pub(super) published: SocketAddr,
    /// For this process.
    pub(super) address: SocketAddr,
    /// When the sidecar started, in seconds since 1970, as it says it.
    pub(super) started: Option<f64>,
}

impl Origin {
    /// What a sidecar answers; none if it has no page. The page has to be at one of its own listeners: a
    /// process that pretends to be a sidecar must not choose what is connected to.
    ///
    /// # Errors
    ///
    /// Why the page cannot be fetched.
    pub(super) fn of(sidecar: &Sidecar, answer: Answer) -> Result<Option<Self>, String> {
        let (_, status) = answer.map_err(|error| error.to_string())?;
        // Older sidecars do not say it.
        if ![0, sidecar.pid].contains(&status.pid) {
            return Err(format!("process {} has its port", status.pid));
        }
        if status.prometheus_address.is_empty() {
            return Ok(None);
        }
        let published: SocketAddr =
            status.prometheus_address.parse().map_err(|_| "its page has no address".to_owned())?;
        let listener = sidecar.listeners.iter().find_map(|listener| match listener {
            Address::Tcp(tcp) if tcp.port == published.port() => {
                Some(SocketAddr::new(tcp.host.parse().ok()?, tcp.port))
            }
            _ => None,
        });
        let address = listener.ok_or_else(|| format!("it does not listen at {published}"))?;
        let started = Duration::from_nanos(status.start_time_unix_nano).as_secs_f64();
        Ok(Some(Self { published, address, started: Some(started).filter(|started| *started > 0.0) }))
    }
}

/// Whether a page that was fetched just now is of this sidecar, which has said when it started. If it has not
/// the page is if the sidecar still runs: as long as it does nobody else can have its port.
pub(super) fn is_of(page: &[Family], sidecar: &Sidecar, started: Option<f64>) -> bool {
    match (start_time(page), started) {
        (Some(shown), Some(started)) => (shown - started).abs() < ROUNDING,
        _ => !sidecar.has_ended(),
    }
}

fn start_time(page: &[Family]) -> Option<f64> {
    match page.iter().find(|family| family.name == START_TIME)?.series.first()?.value {
        Value::Number(seconds) => Some(seconds.as_f64()),
        Value::Histogram(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::parse::parse, *};
    use std::time::SystemTime;

    fn sidecar(pid: u32) -> Sidecar {
        Sidecar {
            pid,
            uid: 0,
            worker: None,
            command: String::new(),
            started: SystemTime::now(),
            start_ticks: u64::MAX,
            listeners: Vec::new(),
        }
    }

    #[test]
    fn a_page_is_of_the_process_that_started_when_it_says() {
        let page = |time: &str| {
            parse(&format!("# HELP {START_TIME} T\n# TYPE {START_TIME} gauge\n{START_TIME} {time}\n"))
                .unwrap()
        };
        // It has ended: what it has served until then counts, and what another one serves does not.
        let ended = sidecar(std::process::id());
        assert!(ended.has_ended());
        let started = Some(1_790_000_000.123_456_7);
        assert!(is_of(&page("1790000000.1234567"), &ended, started));
        assert!(
            !is_of(&page("1790000000.2"), &ended, started) && !is_of(&page("1790000000"), &ended, started)
        );
        assert!(!is_of(&[], &ended, started) && !is_of(&page("1790000000.1"), &ended, None));
    }
}
