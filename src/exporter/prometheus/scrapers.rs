//! Who scrapes: the end waits (`--linger`) for every client that scrapes regularly.
//!
//! A scraper is one that has come at least twice. A client is known by its IP address, its `User-Agent` and
//! its scrape timeout; two of these that are alike, such as a redundant pair on one host, are told apart by
//! their connections if they keep them open. A client that has missed two scrapes is not waited for.

use http::{HeaderMap, HeaderValue, header::USER_AGENT};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How many scrapers are remembered, more than can have connections at a time.
const MAX_SCRAPERS: usize = 256;

/// A client that comes again within this time is never overdue.
const MIN_OVERDUE: Duration = Duration::from_secs(60);

/// Prometheus' timeout of this scrape.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// What is known of a client from its request.
pub(super) fn client(peer: &str, headers: &HeaderMap) -> u64 {
    let ip = peer.rsplit_once(':').map_or(peer, |(ip, _)| ip);
    let value = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let mut hasher = DefaultHasher::new();
    (ip, value(USER_AGENT.as_str()), value(SCRAPE_TIMEOUT)).hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug)]
struct Scraper {
    id: u64,
    client: u64,
    /// The connection of its latest scrape, while that is open.
    connection: Option<u64>,
    latest: Instant,
    /// The time between its two latest scrapes, if it came twice.
    interval: Option<Duration>,
    has_complete_page: bool,
}

impl Scraper {
    fn is_regular(&self, now: Instant) -> bool {
        self.interval.is_some_and(|interval| now - self.latest <= (interval * 2).max(MIN_OVERDUE))
    }
}

#[derive(Debug, Default)]
struct Known {
    scrapers: Vec<Scraper>,
    last_id: u64,
}

/// The scrapers that have come.
#[derive(Debug, Default)]
pub(super) struct Scrapers {
    known: Mutex<Known>,
    /// Notified when a complete page was served.
    served: Notify,
}

impl Scrapers {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a connection or a scraper.
    pub(super) fn next_id(&self) -> u64 {
        let mut known = self.lock();
        known.last_id += 1;
        known.last_id
    }

    /// Notes a scrape and returns the scraper.
    pub(super) fn scraped(&self, client: u64, connection: u64) -> u64 {
        let new_id = self.next_id();
        let now = Instant::now();
        let mut known = self.lock();
        let scrapers = &mut known.scrapers;
        let same = scrapers
            .iter()
            .position(|scraper| scraper.client == client && scraper.connection == Some(connection));
        // Without a connection that is kept open it is the one that has not come for the longest time.
        let same = same.or_else(|| oldest(scrapers, |scraper| scraper.client == client));
        if let Some(scraper) = same.and_then(|index| scrapers.get_mut(index)) {
            scraper.interval = Some(now - scraper.latest);
            (scraper.connection, scraper.latest) = (Some(connection), now);
            return scraper.id;
        }
        if scrapers.len() >= MAX_SCRAPERS
            && let Some(index) = oldest(scrapers, |_| true)
        {
            scrapers.remove(index);
        }
        scrapers.push(Scraper {
            id: new_id,
            client,
            connection: Some(connection),
            latest: now,
            interval: None,
            has_complete_page: false,
        });
        new_id
    }

    /// Notes that a connection was closed.
    pub(super) fn disconnected(&self, connection: u64) {
        for scraper in &mut self.lock().scrapers {
            if scraper.connection == Some(connection) {
                scraper.connection = None;
            }
        }
    }

    /// Notes that a complete page was served to this scraper.
    pub(super) fn served_completely(&self, id: u64) {
        if let Some(scraper) = self.lock().scrapers.iter_mut().find(|scraper| scraper.id == id) {
            scraper.has_complete_page = true;
        }
        self.served.notify_one();
    }

    /// Waits until a complete page was served to each scraper that has come twice; if none has, to anyone.
    pub(super) async fn all_served(&self) {
        let now = Instant::now();
        let regular = |scraper: &&Scraper| scraper.is_regular(now);
        let expected: Vec<_> =
            self.lock().scrapers.iter().filter(regular).map(|scraper| scraper.id).collect();
        while !self.have_been_served(&expected) {
            self.served.notified().await;
        }
    }

    fn have_been_served(&self, expected: &[u64]) -> bool {
        let known = self.lock();
        let mut scrapers = known.scrapers.iter();
        if expected.is_empty() {
            scrapers.any(|scraper| scraper.has_complete_page)
        } else {
            scrapers.all(|scraper| scraper.has_complete_page || !expected.contains(&scraper.id))
        }
    }
}

/// The scraper without a connection that has not come for the longest time, of those that fit.
fn oldest(scrapers: &[Scraper], fits: impl Fn(&Scraper) -> bool) -> Option<usize> {
    let closed = scrapers.iter().enumerate().filter(|(_, one)| one.connection.is_none() && fits(one));
    closed.min_by_key(|(_, scraper)| scraper.latest).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const INTERVAL: Duration = Duration::from_secs(15);

    async fn is_done(scrapers: &Scrapers) -> bool {
        timeout(Duration::ZERO, scrapers.all_served()).await.is_ok()
    }

    /// A scrape on a connection of its own, which is closed afterwards.
    fn scrape(scrapers: &Scrapers, client: u64) -> u64 {
        let connection = scrapers.next_id();
        let id = scrapers.scraped(client, connection);
        scrapers.disconnected(connection);
        id
    }

    #[tokio::test(start_paused = true)]
    async fn each_scraper_that_came_twice_is_waited_for() {
        let scrapers = Scrapers::default();
        let [first, second] = [1, 2].map(|client| scrape(&scrapers, client));
        advance(INTERVAL).await;
        assert_eq!([1, 2].map(|client| scrape(&scrapers, client)), [first, second]);
        scrapers.served_completely(scrape(&scrapers, 3));
        assert!(!is_done(&scrapers).await);
        scrapers.served_completely(first);
        assert!(!is_done(&scrapers).await);
        scrapers.served_completely(second);
        assert!(is_done(&scrapers).await);
    }

    #[tokio::test(start_paused = true)]
    async fn one_page_is_enough_if_nobody_came_twice() {
        let scrapers = Scrapers::default();
        scrape(&scrapers, 1);
        assert!(!is_done(&scrapers).await);
        scrapers.served_completely(scrape(&scrapers, 2));
        assert!(is_done(&scrapers).await);
    }

    #[tokio::test(start_paused = true)]
    async fn equal_clients_are_told_apart_by_connections_that_stay_open() {
        let scrapers = Scrapers::default();
        let connections = [scrapers.next_id(), scrapers.next_id()];
        let scrape_both = || connections.map(|connection| scrapers.scraped(1, connection));
        let pair = scrape_both();
        assert_ne!(pair[0], pair[1]);
        assert_eq!(scrape_both(), pair);
        scrapers.served_completely(pair[0]);
        assert!(!is_done(&scrapers).await);
        // It comes on a new connection.
        scrapers.disconnected(connections[1]);
        assert_eq!(scrape(&scrapers, 1), pair[1]);
        scrapers.served_completely(pair[1]);
        assert!(is_done(&scrapers).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_missed_two_scrapes_is_not_waited_for() {
        let scrapers = Scrapers::default();
        scrape(&scrapers, 1);
        scrape(&scrapers, 2);
        advance(INTERVAL).await;
        scrape(&scrapers, 1);
        advance(MIN_OVERDUE + INTERVAL).await;
        let slow = scrape(&scrapers, 2);
        advance(MIN_OVERDUE * 2).await;
        scrapers.served_completely(slow);
        assert!(is_done(&scrapers).await);
    }

    #[tokio::test]
    async fn few_scrapers_are_remembered() {
        let scrapers = Scrapers::default();
        for client in 0..1000 {
            scrape(&scrapers, client);
        }
        assert_eq!(scrapers.lock().scrapers.len(), MAX_SCRAPERS);
    }

    #[test]
    fn a_client_is_known_by_its_address_and_its_headers() {
        let with = |peer: &str, agent: &str, timeout: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, agent.parse().unwrap());
            headers.insert(SCRAPE_TIMEOUT, timeout.parse().unwrap());
            client(peer, &headers)
        };
        let prometheus = with("127.0.0.1:1", "Prometheus/3", "10");
        assert_eq!(prometheus, with("127.0.0.1:2", "Prometheus/3", "10"));
        let others = [
            with("127.0.0.2:1", "Prometheus/3", "10"),
            with("127.0.0.1:1", "curl", "10"),
            with("127.0.0.1:1", "Prometheus/3", "5"),
            with("[::1]:1", "Prometheus/3", "10"),
        ];
        assert!(!others.contains(&prometheus));
    }
}
