//! Where the page of a sidecar is, and whether a page that was fetched there is of that process: once it has
//! ended another sidecar may have its port.

use super::family::{Family, Value};
use crate::{
    fleet::{discover::Sidecar, probe::Answer},
    net::address::Address,
};
use std::{net::SocketAddr, time::Duration};

/// The gauge that identifies a process.
const START_TIME: &str = "telemetry_sidecar_start_time_seconds";

/// How much the start on the page may differ from the one in the answer, in seconds: each server of a sidecar
/// has its own.
const TOLERANCE: f64 = 0.1;

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
    /// process that pretends to be a sidecar must not choose the address.
    ///
    /// # Errors
    ///
    /// Why the page cannot be fetched.
    pub(super) fn of(sidecar: &Sidecar, answer: Answer) -> Result<Option<Self>, String> {
        let (_, status) = answer.map_err(|error| error.brief())?;
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

/// The start of a sidecar, which distinguishes its pages from those of another process at the same address.
#[derive(Debug)]
pub(super) struct Start {
    /// As the sidecar says it, in seconds since 1970.
    said: Option<f64>,
    /// As its first page shows it.
    shown: Option<f64>,
}

impl Start {
    pub(super) fn new(said: Option<f64>) -> Self {
        Self { said, shown: None }
    }

    /// Whether a page that was fetched just now is of this sidecar. The first page is its own if it
    /// still runs, because no other process can have its port. Later pages show the same start.
    pub(super) fn is_of(&mut self, page: &[Family], sidecar: &Sidecar) -> bool {
        let shown = start_time(page);
        let is_same = match (self.shown, self.said, shown) {
            (Some(first), _, Some(shown)) => first.to_bits() == shown.to_bits(),
            (None, Some(said), Some(shown)) if (shown - said).abs() < TOLERANCE => true,
            _ => !sidecar.has_ended(),
        };
        if is_same {
            self.shown = shown;
        }
        is_same
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

    fn sidecar(pid: u32) -> Sidecar {
        Sidecar { start_ticks: u64::MAX, ..Sidecar::example(pid) }
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
        let mut start = Start::new(Some(1_790_000_000.12));
        assert!(!start.is_of(&page("1790000000.9"), &ended) && start.is_of(&page("1790000000.123"), &ended));
        assert!(start.is_of(&page("1790000000.123"), &ended));
        assert!(!start.is_of(&page("1790000000.124"), &ended) && !start.is_of(&[], &ended));
        assert!(!Start::new(None).is_of(&page("1790000000.123"), &ended));
        // The start of each of its servers may differ if the machine is busy.
        let mut running = sidecar(std::process::id());
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1;
        running.start_ticks = fields.split(' ').nth(19).unwrap().parse().unwrap();
        let mut start = Start::new(Some(1_790_000_000.12));
        assert!(
            start.is_of(&page("1790000003.5"), &running) && !start.is_of(&page("1790000003.6"), &running)
        );
    }
}
