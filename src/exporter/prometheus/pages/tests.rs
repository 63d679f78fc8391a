use super::*;
use flate2::read::GzDecoder;
use std::{
    cell::Cell,
    io::Read as _,
    pin::pin,
    task::{Context, Waker},
};

const TEXT: Variant = Variant { format: Format::Text, gzip: false };
const GZIP: Variant = Variant { gzip: true, ..TEXT };

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

fn decompressed(page: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(page).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn requests_that_wait_share_a_page_and_a_later_one_gets_a_newer_page() {
    let client = Client::new(MAX_BYTES);
    let (first, second, other) = tokio::join!(client.get(TEXT), client.get(TEXT), client.get(GZIP));
    assert_eq!(first.0.as_ptr(), second.0.as_ptr());
    assert_eq!(client.rendered.get(), 2);
    let text = decompressed(&other.0);
    assert_ne!(text, first.0);
    assert!(["1", "2"].contains(&&text[..1]) && text == text[..1].repeat(1000));
    assert_eq!(client.get(TEXT).await.0, "3".repeat(1000));
}

#[tokio::test]
async fn requests_that_arrive_during_a_compression_share_the_next_page() {
    let client = Client::new(MAX_BYTES);
    let mut first = Box::pin(client.get(GZIP));
    let mut context = Context::from_waker(Waker::noop());
    while client.rendered.get() == 0 {
        assert!(first.as_mut().poll(&mut context).is_pending());
    }
    let mut later = [GZIP, GZIP, GZIP, TEXT].map(|variant| Box::pin(client.get(variant)));
    for _ in 0..10 {
        for request in &mut later {
            assert!(request.as_mut().poll(&mut context).is_pending());
        }
    }
    assert_eq!(client.rendered.get(), 1);
    let [second, third, fourth, text] = later;
    let (first, second, third, fourth, text) = tokio::join!(first, second, third, fourth, text);
    assert_eq!(decompressed(&first.0), "1".repeat(1000));
    assert_eq!(decompressed(&second.0), "2".repeat(1000));
    assert_eq!([third, fourth].map(|(page, _)| page.as_ptr()), [second.0.as_ptr(); 2]);
    assert_eq!(text.0, "3".repeat(1000));
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
#[tokio::test]
async fn a_text_that_is_being_compressed_counts() {
    let client = Client::new(3500);
    let [first, second, third] = [client.get(TEXT).await, client.get(TEXT).await, client.get(TEXT).await];
    let compressed = client.get(GZIP).await;
    assert!(compressed.0.len() < 500 && first.1.is_cancelled());
    assert!(!second.1.is_cancelled() && !third.1.is_cancelled());
}

#[tokio::test]
async fn room_is_made_before_a_page_is_rendered() {
    let client = Client::new(2500);
    let (first, second) = (client.get(TEXT).await, client.get(TEXT).await);
    let render = || (first.1.is_cancelled().to_string(), false);
    let (page, _) = client.pages.get(TEXT, render, &CancellationToken::new()).await;
    assert_eq!(page, "true");
    assert!(!second.1.is_cancelled());
}

#[tokio::test]
async fn readers_of_a_page_over_the_limit_are_kept_until_two_newer_pages_are_rendered() {
    for variant in [TEXT, GZIP] {
        let client = Client::new(500);
        let first = client.get(TEXT).await;
        let second = client.get(variant).await;
        assert!(!first.1.is_cancelled() && !second.1.is_cancelled());
        let third = client.get(variant).await;
        assert!(first.1.is_cancelled() && !second.1.is_cancelled() && !third.1.is_cancelled());
    }
}
