use super::*;
use crate::{
    control::Controls,
    event::{frame::Prefix, proto::bridge::TelemetryEvent, stats::UpstreamStats},
    hub::{Limits, WhenFull},
    upstream::stream,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use std::{cell::RefCell, collections::VecDeque, pin::Pin};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Code;

/// What a worker answers to a request.
enum Answer {
    /// Nothing: the connection fails.
    Failure,
    /// A head that ends the stream.
    Head(StatusCode, HeaderMap),
    /// A stream.
    Stream(Vec<Item>),
}

/// What happens in a stream.
enum Item {
    Events(usize),
    Pause(Duration),
    Trailers(Code),
    Failure,
    Silence,
}

use Item::{Events as Sent, Failure, Pause, Silence, Trailers};

/// A worker whose answers are known beforehand. After the last one it answers nothing.
#[derive(Default)]
struct Worker {
    answers: RefCell<VecDeque<Answer>>,
    /// When it was asked, since the start of the test.
    asked: RefCell<Vec<Duration>>,
    start: Option<Instant>,
}

impl Worker {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = RefCell::new(answers.into_iter().collect());
        Self { answers, start: Some(Instant::now()), ..Self::default() }
    }

    /// The times between requests.
    fn gaps(&self) -> Vec<Duration> {
        let asked = self.asked.borrow();
        asked.iter().zip(asked.iter().skip(1)).map(|(one, next)| next.saturating_sub(*one)).collect()
    }
}

impl Transport for &Worker {
    type Body = StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, &'static str>>>>>;
    type Error = stream::End;

    async fn send(&self, request: Request<stream::Controls>) -> Result<Response<Self::Body>, stream::End> {
        self.asked.borrow_mut().push(self.start.unwrap().elapsed());
        assert!(!request.headers().contains_key("grpc-timeout"));
        let control = request.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(control, [&[0, 0, 0, 0, 4][..], &[10, 2, 8, 1]].concat());
        let next = self.answers.borrow_mut().pop_front();
        let items = match next {
            Some(Answer::Failure) => return Err(stream::End::Failed("refused".into())),
            Some(Answer::Head(status, headers)) => {
                let mut response = Response::new(StreamBody::new(Box::pin(tokio_stream::empty()) as _));
                (*response.status_mut(), *response.headers_mut()) = (status, headers);
                return Ok(response);
            }
            Some(Answer::Stream(items)) => items,
            None => std::future::pending().await,
        };
        let frames = tokio_stream::iter(items).then(async |item| match item {
            Sent(count) => Some(Ok(Frame::data(frames(count)))),
            Pause(pause) => {
                sleep(pause).await;
                None
            }
            Trailers(code) => Some(Ok(Frame::trailers(headers(code)))),
            Failure => Some(Err("lost")),
            Silence => std::future::pending().await,
        });
        Ok(Response::new(StreamBody::new(Box::pin(frames.filter_map(|frame| frame)))))
    }
}

fn frames(count: usize) -> Bytes {
    let message = TelemetryEvent { event_parts: vec!["a".into()], ..TelemetryEvent::default() };
    let message = message.encode_to_vec();
    let prefix = Prefix { compressed: false, length: u32::try_from(message.len()).unwrap() };
    [&prefix.to_bytes()[..], &message].concat().repeat(count).into()
}

fn headers(code: Code) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(code as i32))])
}

fn hub() -> Arc<Hub> {
    Hub::new(Controls::default(), Limits { events: 5, bytes: 1_000, when_full: WhenFull::DropNewest })
}

/// Runs the source with this worker until the worker exits.
async fn run(worker: &Worker, exits_after: Duration) -> Option<UpstreamStats> {
    let (hub, ends) = (hub(), Ends::default());
    let source = Source {
        transport: worker,
        hub: Arc::clone(&hub),
        events: Events::new(Vec::new()),
        ends: ends.clone(),
    };
    let exiting = async {
        sleep(exits_after).await;
        ends.worker.cancel();
        sleep(Duration::from_secs(10)).await;
        ends.source.cancel();
    };
    tokio::join!(source.run(), exiting);
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    assert_eq!(snapshot.backlog.accepted, snapshot.sources.events());
    snapshot.sources.upstream
}

fn events(count: u64) -> UpstreamStats {
    UpstreamStats { messages: count, events: count, ..UpstreamStats::default() }
}

const LONG: Duration = Duration::from_secs(1_000);

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_is_opened_again_after_pauses_that_grow() {
    let head = |status| Answer::Head(status, HeaderMap::new());
    let answers = [
        Answer::Failure,
        head(StatusCode::BAD_GATEWAY),
        Answer::Stream(vec![Sent(2), Failure]),
        Answer::Stream(vec![Sent(1)]),
        Answer::Stream(vec![Trailers(Code::Ok)]),
        Answer::Head(StatusCode::OK, headers(Code::Unavailable)),
        Answer::Failure,
        Answer::Failure,
    ];
    let worker = Worker::new(answers);
    assert_eq!(run(&worker, LONG).await, Some(events(3)));
    let gaps = worker.gaps();
    let longest = [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000].map(Duration::from_millis);
    assert_eq!(gaps.len(), longest.len());
    for (gap, longest) in gaps.iter().zip(longest) {
        // The clock of paused tests has steps of a millisecond.
        let range = longest / 2..=longest + Duration::from_millis(2);
        assert!(range.contains(gap), "{gaps:?} {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_lasted_is_opened_again_at_once() {
    let lasting = || vec![Sent(1), Pause(Duration::from_secs(5)), Sent(1)];
    let ended = |code| Answer::Stream(lasting().into_iter().chain([Trailers(code)]).collect());
    let failed = || Answer::Stream(lasting().into_iter().chain([Failure]).collect());
    // Without an event a worker answers at the end.
    let worker = Worker::new([
        Answer::Failure,
        Answer::Failure,
        ended(Code::DeadlineExceeded),
        ended(Code::Ok),
        failed(),
        ended(Code::Unavailable),
        ended(Code::Ok),
    ]);
    assert_eq!(run(&worker, LONG).await, Some(events(10)));
    let gaps: Vec<_> = worker.gaps().iter().map(Duration::as_millis).collect();
    let [_, _, at_once, at_once_again, first_pause, first_pause_again, and_at_once] = gaps[..] else {
        panic!("{gaps:?}")
    };
    for gap in [at_once, at_once_again, and_at_once] {
        assert!((5_000..=5_004).contains(&gap), "{gaps:?}");
    }
    for gap in [first_pause, first_pause_again] {
        assert!((5_050..=5_104).contains(&gap), "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_the_stream_is_asked_once() {
    let unimplemented = || headers(Code::Unimplemented);
    let answers = [
        (Answer::Head(StatusCode::OK, unimplemented()), None),
        (Answer::Head(StatusCode::NOT_FOUND, HeaderMap::new()), None),
        (Answer::Stream(vec![Trailers(Code::Unimplemented)]), Some(events(0))),
    ];
    for (answer, counted) in answers {
        let worker = Worker::new([answer, Answer::Stream(vec![Sent(1)])]);
        assert_eq!(run(&worker, LONG).await, counted);
        assert_eq!(worker.asked.borrow().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_sent_before_it_exited_is_read_to_the_end() {
    let exits_after = Duration::from_secs(1);
    let (start, seconds) = (Instant::now(), Duration::from_secs);
    // Its last events are read slowly, and then the connection ends.
    let worker = Worker::new([Answer::Stream(vec![Sent(1), Pause(seconds(4)), Sent(1), Failure])]);
    assert_eq!(run(&worker, exits_after).await, Some(events(2)));
    assert_eq!(worker.asked.borrow().len(), 1);
    // It had ended the stream before.
    let worker = Worker::new([Answer::Stream(vec![Sent(1), Pause(seconds(1)), Sent(1), Failure])]);
    assert_eq!(run(&worker, exits_after).await, Some(events(2)));
    assert_eq!(worker.asked.borrow().len(), 1);
    // Another process keeps the connection.
    let worker = Worker::new([Answer::Stream(vec![Sent(1), Silence])]);
    assert_eq!(run(&worker, exits_after).await, Some(events(1)));
    // The answer does not come.
    assert_eq!(run(&Worker::new([]), exits_after).await, None);
    assert!(start.elapsed() < seconds(60));
}

#[test]
fn a_source_that_does_not_end_is_stopped_at_the_limit_or_earlier() {
    struct Hanging;
    impl Transport for Hanging {
        type Body = http_body_util::Empty<Bytes>;
        type Error = stream::End;

        async fn send(&self, _: Request<stream::Controls>) -> Result<Response<Self::Body>, stream::End> {
            std::future::pending().await
        }
    }
    let runtime = thread::runtime().enable_time().build().unwrap();
    runtime.block_on(async {
        let start = || Running::start(|| Hanging, hub(), Vec::new()).unwrap();
        let began = Instant::now();
        start().finish(Duration::from_millis(50), std::future::pending::<()>()).await;
        assert!(began.elapsed() >= Duration::from_millis(50));
        start().finish(LONG, std::future::ready(())).await;
        assert!(began.elapsed() < Duration::from_secs(60));
    });
}
