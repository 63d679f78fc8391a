//! Rendered pages: one for all requests that wait for it, and little memory for those that are not read.
//!
//! A page may have tens of megabytes. Requests that have arrived before a page is rendered share it; a later
//! request gets a newer page, so that a scrape after an event always shows the event. A page stays in memory
//! until the last response with it is written. When too much memory is held by clients that do not read, the
//! connections that read the oldest page are closed.

use super::page::Format;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::{
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::{sync::OnceCell, task::yield_now};
use tokio_util::sync::CancellationToken;

/// How much memory all pages may hold together: more than the largest page has, compressed or not.
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
    /// In the order in which their pages were rendered.
    readers: Mutex<Vec<Weak<Reader>>>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { max_bytes: MAX_BYTES, pending: Mutex::default(), readers: Mutex::default() }
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
            // Other requests that have arrived join.
            yield_now().await;
            self.close(&pending);
            let (text, is_complete) = render();
            let content = if variant.gzip { compress(text).await } else { text.into_bytes() };
            let page = Arc::new(Rendered { content, is_complete });
            self.make_room(page.content.len());
            page
        });
        let page = Arc::clone(rendered.await);
        let is_complete = page.is_complete;
        let reader = Arc::new(Reader { page, connection: connection.clone() });
        lock(&self.readers).push(Arc::downgrade(&reader));
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

    /// Closes the connections that read the oldest pages until there is room for this number of bytes.
    fn make_room(&self, bytes: usize) {
        let mut readers = lock(&self.readers);
        readers.retain(|reader| reader.strong_count() > 0);
        let reading: Vec<_> = readers.iter().filter_map(Weak::upgrade).collect();
        let by_page: Vec<_> = reading.chunk_by(|a, b| Arc::ptr_eq(&a.page, &b.page)).collect();
        let mut held = bytes + by_page.iter().filter_map(|readers| size(readers)).sum::<usize>();
        for readers in by_page {
            if held <= self.max_bytes {
                break;
            }
            held -= size(readers).unwrap_or_default();
            for reader in readers {
                reader.connection.cancel();
            }
        }
    }
}

/// The size of the page that all of these read.
fn size(readers: &[Arc<Reader>]) -> Option<usize> {
    readers.first().map(|reader| reader.page.content.len())
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
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::{
        cell::Cell,
        io::Read as _,
        pin::pin,
        task::{Context, Waker},
    };

    const TEXT: Variant = Variant { format: Format::Text, gzip: false };

    /// Gets pages that are numbered in the order in which they were rendered.
    struct Client {
        pages: Pages,
        rendered: Cell<usize>,
    }

    impl Client {
        fn new(max_bytes: usize) -> Self {
            Self { pages: Pages { max_bytes, ..Pages::default() }, rendered: Cell::new(0) }
        }

        async fn get(&self, variant: Variant) -> (Bytes, CancellationToken) {
            let connection = CancellationToken::new();
            let render = || {
                self.rendered.set(self.rendered.get() + 1);
                (self.rendered.get().to_string().repeat(1000), false)
            };
            (self.pages.get(variant, render, &connection).await.0, connection)
        }
    }

    #[tokio::test]
    async fn requests_that_wait_share_a_page_and_a_later_one_gets_a_newer_page() {
        let client = Client::new(MAX_BYTES);
        let gzip = Variant { gzip: true, ..TEXT };
        let (first, second, other) = tokio::join!(client.get(TEXT), client.get(TEXT), client.get(gzip));
        assert_eq!(first.0.as_ptr(), second.0.as_ptr());
        assert_eq!(client.rendered.get(), 2);
        let mut text = String::new();
        GzDecoder::new(&other.0[..]).read_to_string(&mut text).unwrap();
        assert_ne!(text, first.0);
        assert!(["1", "2"].contains(&&text[..1]) && text == text[..1].repeat(1000));
        assert_eq!(client.get(TEXT).await.0, "3".repeat(1000));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_does_not_hold_up_those_that_wait_with_it() {
        let client = Client::new(MAX_BYTES);
        let mut waiting = Box::pin(client.get(TEXT));
        {
            let first = pin!(client.get(TEXT));
            let mut context = Context::from_waker(Waker::noop());
            assert!(first.poll(&mut context).is_pending());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(waiting.await.0, "1".repeat(1000));
    }

    #[tokio::test]
    async fn connections_that_read_the_oldest_pages_are_closed_when_memory_is_short() {
        let client = Client::new(3500);
        let ((page, first), shared) = tokio::join!(client.get(TEXT), client.get(TEXT));
        let second = client.get(TEXT).await;
        let third = client.get(TEXT).await;
        let are_closed = || [&first, &shared.1, &second.1, &third.1].map(CancellationToken::is_cancelled);
        assert_eq!(are_closed(), [false; 4]);
        // The fourth page exceeds the limit.
        let fourth = client.get(TEXT).await;
        assert_eq!(are_closed(), [true, true, false, false]);
        // What is read needs no memory.
        drop((page, shared.0, second.0, third.0));
        drop(client.get(TEXT).await.0);
        assert!(!second.1.is_cancelled() && !third.1.is_cancelled() && !fourth.1.is_cancelled());
    }
}
