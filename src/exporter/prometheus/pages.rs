//! Rendered pages: one for all requests that wait for it, and little memory for those that are not read.
//!
//! A page may have tens of megabytes. Requests that have arrived before a page is rendered share it; a later
//! request gets a newer page, so that a scrape after an event always shows the event. Pages are rendered and
//! compressed one after the other: requests that arrive meanwhile share the next one. A page stays in memory
//! until the last response with it is written. When too much memory is held by clients that do not read, the
//! connections that read the oldest pages are closed.

use super::page::Format;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::{
    sync::{self, OnceCell},
    task::yield_now,
};
use tokio_util::sync::CancellationToken;

/// How much memory all pages may hold together, the text that is being compressed included. With long labels
/// a single page may have more, so the latest page that is being read stays in addition to the next one.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// How much is compressed before events and other connections get their turn.
const COMPRESSION_STEP: usize = 256 * 1024;

/// A representation of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) format: Format,
    pub(super) gzip: bool,
}

#[derive(Debug)]
struct Rendered {
    content: Vec<u8>,
    is_complete: bool,
    readers: Mutex<Vec<Weak<Reader>>>,
}

/// A response that is being written.
#[derive(Debug)]
struct Reader {
    page: Arc<Rendered>,
    connection: CancellationToken,
}

/// Keeps the page until the response is written.
struct Body(Arc<Reader>);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0.page.content
    }
}

/// A page that is yet to be rendered, shared by the requests that wait for it.
type Pending = Arc<OnceCell<Arc<Rendered>>>;

/// The pages that are awaited, and those that are being read.
#[derive(Debug)]
pub(super) struct Pages {
    max_bytes: usize,
    pending: Mutex<Vec<(Variant, Pending)>>,
    /// The size of the latest text. Locked while a page is rendered and compressed, so that there is one such
    /// text only.
    latest_bytes: sync::Mutex<usize>,
    /// The oldest first.
    rendered: Mutex<Vec<Weak<Rendered>>>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            max_bytes: MAX_BYTES,
            pending: Mutex::default(),
            latest_bytes: sync::Mutex::default(),
            rendered: Mutex::default(),
        }
    }
}

impl Pages {
    /// A page that is rendered after this call, and whether it is complete. Cancels `connection` if it has to
    /// be closed because the page is not read.
    pub(super) async fn get(
        &self,
        variant: Variant,
        render: impl Fn() -> (String, bool),
        connection: &CancellationToken,
    ) -> (Bytes, bool) {
        let pending = self.join(variant);
        let rendered = pending.get_or_init(async || {
            let mut latest_bytes = self.latest_bytes.lock().await;
            self.make_room(*latest_bytes);
            // Closed connections free their pages, and other requests that have arrived join.
            yield_now().await;
            self.close(&pending);
            let (text, is_complete) = render();
            *latest_bytes = text.len();
            self.make_room(text.len());
            let content = if variant.gzip { compress(text).await } else { text.into_bytes() };
            let page = Arc::new(Rendered { content, is_complete, readers: Mutex::default() });
            lock(&self.rendered).push(Arc::downgrade(&page));
            page
        });
        let page = Arc::clone(rendered.await);
        let reader = Arc::new(Reader { page, connection: connection.clone() });
        lock(&reader.page.readers).push(Arc::downgrade(&reader));
        let is_complete = reader.page.is_complete;
        (Bytes::from_owner(Body(reader)), is_complete)
    }

    fn join(&self, variant: Variant) -> Pending {
        let mut pending = lock(&self.pending);
        if let Some((_, page)) = pending.iter().find(|(other, _)| *other == variant) {
            return Arc::clone(page);
        }
        let page = Pending::default();
        pending.push((variant, Arc::clone(&page)));
        page
    }

    /// Lets no other request join.
    fn close(&self, page: &Pending) {
        lock(&self.pending).retain(|(_, other)| !Arc::ptr_eq(other, page));
    }

    /// Closes the connections that read the oldest pages until there is room for this number of bytes. The
    /// latest page stays: otherwise two clients could not read pages of more than half the maximum in turn.
    fn make_room(&self, bytes: usize) {
        let mut rendered = lock(&self.rendered);
        rendered.retain(|page| page.strong_count() > 0);
        let pages: Vec<_> = rendered.iter().filter_map(Weak::upgrade).collect();
        let mut held = bytes + pages.iter().map(|page| page.content.len()).sum::<usize>();
        for page in pages.iter().take(pages.len().saturating_sub(1)) {
            if held <= self.max_bytes {
                break;
            }
            held -= page.content.len();
            for reader in lock(&page.readers).iter().filter_map(Weak::upgrade) {
                reader.connection.cancel();
            }
        }
    }
}

async fn compress(text: String) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for chunk in text.as_bytes().chunks(COMPRESSION_STEP) {
        // Writing to a Vec does not fail.
        let _ = encoder.write_all(chunk);
        yield_now().await;
    }
    encoder.finish().unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
