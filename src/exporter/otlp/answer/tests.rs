//! What answers mean: which are a success, and which requests may be sent again and when.

use super::*;
use crate::{
    event::frame::PREFIX_BYTES,
    exporter::otlp::proto::collector::{
        logs::v1::ExportLogsPartialSuccess, metrics::v1::ExportMetricsPartialSuccess,
        trace::v1::ExportTracePartialSuccess,
    },
};
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;
use tonic_types::ErrorDetails;

/// An answer with a gRPC status in its trailers.
fn grpc(status: &Status) -> Answer {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Some(Bytes::new()), trailers }
}

fn http(status: u16, retry_after: Option<&str>) -> Answer {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(RETRY_AFTER, value.parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers, body: Some("a\nb\n".into()), trailers: HeaderMap::new() }
}

fn retry(answer: &Answer, protocol: Protocol) -> Retry {
    answer.read(protocol, Signal::Traces).unwrap_err().retry
}

#[test]
fn exactly_these_grpc_codes_may_be_retried() {
    for code in 1..=16 {
        let code = Code::from_i32(code);
        let expected = match code {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Retry::Soon,
            _ => Retry::Never,
        };
        assert_eq!(retry(&grpc(&Status::new(code, "")), Protocol::Grpc), expected, "{code:?}");
    }
}

#[test]
fn retry_info_makes_exhausted_resources_retryable_and_sets_the_pause() {
    let status = |code, delay| {
        let details = ErrorDetails::with_retry_info(delay);
        retry(&grpc(&Status::with_error_details(code, "", details)), Protocol::Grpc)
    };
    let pause = Duration::from_millis(1500);
    assert_eq!(status(Code::ResourceExhausted, Some(pause)), Retry::After(pause));
    assert_eq!(status(Code::ResourceExhausted, None), Retry::Soon);
    assert_eq!(status(Code::ResourceExhausted, Some(Duration::ZERO)), Retry::Soon);
    assert_eq!(status(Code::Unavailable, Some(pause)), Retry::After(pause));
    assert_eq!(status(Code::InvalidArgument, Some(pause)), Retry::Never);
}

#[test]
fn a_proxys_answer_to_grpc_is_judged_by_its_http_status() {
    for status in [400, 401, 403, 404, 429, 500, 501, 502, 503, 504] {
        let expected = if matches!(status, 429 | 502..=504) { Retry::Soon } else { Retry::Never };
        assert_eq!(retry(&http(status, None), Protocol::Grpc), expected, "{status}");
    }
    assert_eq!(retry(&http(200, None), Protocol::Grpc), Retry::Never, "no status at all");
}

#[test]
fn exactly_these_http_statuses_may_be_retried() {
    for status in 300..600 {
        let expected = if matches!(status, 429 | 502..=504) { Retry::Soon } else { Retry::Never };
        assert_eq!(retry(&http(status, None), Protocol::Http), expected, "{status}");
        let asked = retry(&http(status, Some("7")), Protocol::Http);
        let expected = if expected == Retry::Never { expected } else { Retry::After(Duration::from_secs(7)) };
        assert_eq!(asked, expected, "{status}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let soon = SystemTime::now() + Duration::from_secs(100);
    let Some(pause) = retry_after(&httpdate::fmt_http_date(soon)) else { panic!("not understood") };
    assert!((98..=100).contains(&pause.as_secs()), "{pause:?}");
    assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
    assert_eq!(retry_after(" 0 "), Some(Duration::ZERO));
    for nonsense in ["", "soon", "-1", "1.5"] {
        assert_eq!(retry_after(nonsense), None, "{nonsense}");
    }
    assert_eq!(retry(&http(503, Some("soon")), Protocol::Http), Retry::Soon);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A successful answer with this body, framed for gRPC. `encoding` is what its header says; only the flag of
/// the frame says that there is one.
fn accepting(protocol: Protocol, body: &[u8], encoding: Option<&'static str>) -> Answer {
    let (mut answer, header) = match protocol {
        Protocol::Grpc => {
            let length = body.len().try_into().unwrap();
            let prefix = Prefix { compressed: encoding.is_some(), length }.to_bytes();
            let body = Some([&prefix[..], body].concat().into());
            (Answer { body, ..grpc(&Status::ok("")) }, "grpc-encoding")
        }
        Protocol::Http => {
            (Answer { body: Some(body.to_vec().into()), ..http(200, None) }, "content-encoding")
        }
    };
    if let Some(encoding) = encoding {
        answer.headers.insert(header, encoding.parse().unwrap());
    }
    answer
}

/// A partial success of which 3 items were rejected.
fn partial(signal: Signal) -> Vec<u8> {
    let error_message = "too\nold".into();
    match signal {
        Signal::Traces => {
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 3, error_message });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Signal::Metrics => {
            let partial_success =
                Some(ExportMetricsPartialSuccess { rejected_data_points: 3, error_message });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
        Signal::Logs => {
            let partial_success = Some(ExportLogsPartialSuccess { rejected_log_records: 3, error_message });
            ExportLogsServiceResponse { partial_success }.encode_to_vec()
        }
    }
}

#[test]
fn a_partial_success_is_a_success_with_a_count_of_rejected_items() {
    let expected = Accepted { rejected: 3, message: "too old".into(), unreadable: None };
    for signal in Signal::ALL {
        let message = partial(signal);
        for protocol in [Protocol::Grpc, Protocol::Http] {
            for (body, encoding) in [
                (message.clone(), None),
                (message.clone(), Some("identity")),
                (gzip(&message), Some("gzip")),
                (gzip(&message), Some("GZIP")),
                ([gzip(&message[..4]), gzip(&message[4..])].concat(), Some("gzip")),
            ] {
                let answer = accepting(protocol, &body, encoding);
                assert_eq!(answer.read(protocol, signal), Ok(expected.clone()), "{signal:?} {answer:?}");
            }
            for empty in [accepting(protocol, &[], None), accepting(protocol, &[], Some("gzip"))] {
                assert_eq!(empty.read(protocol, signal), Ok(Accepted::default()), "{signal:?} {empty:?}");
            }
        }
    }
}

#[test]
fn a_request_whose_answer_cannot_be_read_is_accepted() {
    let message = partial(Signal::Traces);
    let zeros = gzip(&vec![0; MAX_RESPONSE_BYTES + 1]);
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for (body, encoding, cause) in [
            (&message[..], Some("br"), Unreadable::Encoding("br".into())),
            (&message, Some("gzip"), Unreadable::Gzip),
            (&gzip(&message)[..20], Some("gzip"), Unreadable::Gzip),
            (&zeros, Some("gzip"), Unreadable::TooLong),
            (b"<html>", None, Unreadable::Message),
        ] {
            let read = accepting(protocol, body, encoding).read(protocol, Signal::Traces);
            assert_eq!(read, Ok(Accepted { unreadable: Some(cause), ..Accepted::default() }));
        }
    }
    let framed = accepting(Protocol::Grpc, &message, None).body.unwrap();
    for length in [1, PREFIX_BYTES, framed.len() - 1] {
        let answer = Answer { body: Some(framed.slice(..length)), ..grpc(&Status::ok("")) };
        let accepted = answer.read(Protocol::Grpc, Signal::Traces).unwrap();
        assert_eq!(accepted.unreadable, Some(Unreadable::CutOff), "{length}");
    }
    let too_long = Answer { body: None, ..http(200, None) };
    let accepted = too_long.read(Protocol::Http, Signal::Metrics).unwrap();
    assert_eq!(accepted.unreadable, Some(Unreadable::TooLong));
    // Over gRPC the status would have followed.
    assert_eq!(retry(&Answer { body: None, ..grpc(&Status::ok("")) }, Protocol::Grpc), Retry::Soon);
}

#[test]
fn the_text_of_an_error_may_be_compressed() {
    let mut answer = Answer { body: Some(gzip(b"no room").into()), ..http(400, None) };
    answer.headers.insert(CONTENT_ENCODING, "gzip".parse().unwrap());
    let failure = answer.read(Protocol::Http, Signal::Traces).unwrap_err();
    assert_eq!(failure.why, "HTTP 400 Bad Request: no room");
}

#[test]
fn a_server_that_gives_no_reason_leaves_no_empty_one() {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: String::new() });
    let message = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let accepted = accepting(Protocol::Http, &message, None).read(Protocol::Http, Signal::Traces).unwrap();
    assert_eq!(accepted.message, "no reason given");
    let failure = grpc(&Status::new(Code::Internal, "")).read(Protocol::Grpc, Signal::Traces).unwrap_err();
    assert_eq!(failure.why, "Internal");
}

#[test]
fn text_of_a_server_is_reduced_to_one_short_line() {
    assert_eq!(
        http(500, None).read(Protocol::Http, Signal::Traces).unwrap_err().why,
        "HTTP 500 Internal Server Error: a b"
    );
    let long = Status::internal("x".repeat(10_000));
    assert!(grpc(&long).read(Protocol::Grpc, Signal::Traces).unwrap_err().why.len() < 300);
}
