//! Which answers mean that a request may be sent again, and when.

use super::*;
use tonic_types::ErrorDetails;

/// An answer with a gRPC status in its trailers.
fn grpc(status: &Status) -> Answer {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new(), trailers }
}

fn http(status: u16, retry_after: Option<&str>) -> Answer {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(RETRY_AFTER, value.parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers, body: "a\nb".into(), trailers: HeaderMap::new() }
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

#[test]
fn a_partial_success_is_a_success_with_a_count_of_rejected_items() {
    use crate::exporter::otlp::proto::collector::trace::v1::ExportTracePartialSuccess;
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too\nold".into() };
    let message = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let expected = Accepted { rejected: 3, message: "too old".into() };
    let over_http = Answer { body: message.clone().into(), ..http(200, None) };
    assert_eq!(over_http.read(Protocol::Http, Signal::Traces), Ok(expected.clone()));
    let framed = [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], &message[..]].concat();
    let over_grpc = Answer { body: framed.into(), ..grpc(&Status::ok("")) };
    assert_eq!(over_grpc.read(Protocol::Grpc, Signal::Traces), Ok(expected));
    let nonsense = Answer { body: "<html>".into(), ..http(204, None) };
    assert_eq!(nonsense.read(Protocol::Http, Signal::Metrics), Ok(Accepted::default()));
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
