//! Decoding: all three paths agree with each other and with serde_json, and each row of the table in the
//! design has a test.

use crate::support::{
    events::{damaged_lines, documents, lines, properties, soup, whole_and_damaged},
    outcome::{self, Decoded, NOW, Outcome, by_serde_json, outcomes},
};
use bytes::Bytes;
use proptest::{
    collection::{btree_map, vec},
    prelude::*,
    sample::select,
};
use std::thread;
use telemetry_sidecar::{
    event::{
        batch::{BatchBuilder, MAX_MESSAGE_BYTES},
        proto::bridge::{
            TelemetryValue,
            telemetry_value::Value::{self, FloatValue, IntValue, StringValue},
        },
        stats::Malformed::{self, Event, Json, NotObject, Shape},
    },
    input::{
        decode::{Decoder, Reject},
        dialect::SNAKEPIT,
    },
};

/// The results of all paths for a line between unaffected other lines: as the first of its shape, and as one
/// of a known shape.
fn by_all_paths(metadata: &[(String, String)], line: &[u8]) -> Result<Outcome, TestCaseError> {
    let lines: [&[u8]; 4] = [
        br#"{"event": "a", "metadata": {"b": "c"}}"#,
        line,
        br#"{"event": "d", "measurements": {"e": [1]}}"#,
        line,
    ];
    let new = || Decoder::new(&SNAKEPIT, metadata.to_vec());
    let mut slow = outcomes(&mut new(), true, &lines);
    same(&slow, &outcomes(&mut new(), false, &lines), &lines)?;
    same(&slow[1..2], &outcomes(&mut new(), false, &lines[1..2]), &lines[1..2])?;
    let outcome = slow.swap_remove(1);
    if let Ok(decoded) = &outcome {
        decoded.check().map_err(TestCaseError::fail)?;
    }
    Ok(outcome)
}

fn same(slow: &[Outcome], fast: &[Outcome], lines: &[&[u8]]) -> Result<(), TestCaseError> {
    outcome::same(slow, fast, lines).map_err(TestCaseError::fail)
}

/// Decoders with and without metadata from options.
fn decoder() -> impl Strategy<Value = Vec<(String, String)>> {
    let key = select(&["a", "b", "é", "correlation_id", "worker"][..]).prop_map(String::from);
    btree_map(key, "[a-z]{0,3}", 0..4).prop_map(|metadata| metadata.into_iter().collect())
}

/// Arbitrary bytes.
fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn all_paths_agree_on_what_workers_print(line in lines(), metadata in decoder()) {
        by_all_paths(&metadata, &line)?.ok();
    }

    #[test]
    fn all_paths_agree_on_damaged_lines(line in damaged_lines(), metadata in decoder()) {
        by_all_paths(&metadata, &line)?.ok();
    }

    #[test]
    fn all_paths_agree_on_anything(line in prop_oneof![documents(), soup(), bytes()]) {
        by_all_paths(&[], &line)?.ok();
    }

    #[test]
    fn all_paths_agree_on_a_line_similar_to_an_earlier_one(
        (whole, damaged) in prop_oneof![whole_and_damaged(), (lines(), lines())],
        metadata in decoder(),
    ) {
        let lines = [&whole[..], &damaged, &whole];
        let new = || Decoder::new(&SNAKEPIT, metadata.clone());
        same(&outcomes(&mut new(), true, &lines), &outcomes(&mut new(), false, &lines), &lines)?;
    }

    #[test]
    fn all_paths_agree_on_lines_of_one_shape_with_other_values(
        line in lines(),
        values in vec("[0-9]{1,20}|[a-z]{1,40}", 1..10),
    ) {
        let text = String::from_utf8_lossy(&line);
        // Runs of digits and letters are often values; the rest of the line is then its shape.
        let changed: Vec<_> = values.iter().map(|value| replace_last_run(&text, value)).collect();
        let texts = [&*text].into_iter().chain(changed.iter().map(String::as_str));
        let lines: Vec<_> = texts.map(str::as_bytes).collect();
        let new = Decoder::default;
        same(&outcomes(&mut new(), true, &lines), &outcomes(&mut new(), false, &lines), &lines)?;
    }

    #[test]
    fn decoding_agrees_with_serde_json(
        line in prop_oneof![4 => lines(), 2 => damaged_lines(), 1 => documents(), 1 => soup()],
    ) {
        let outcome = by_all_paths(&[], &line)?;
        by_serde_json::check(&line, &outcome).map_err(TestCaseError::fail)?;
    }
}

/// The text with its last run of digits or letters replaced.
fn replace_last_run(text: &str, value: &str) -> String {
    let is_of_run = |c: char| {
        if value.starts_with(|c: char| c.is_ascii_digit()) {
            c.is_ascii_digit()
        } else {
            c.is_ascii_lowercase()
        }
    };
    let end = text.rfind(is_of_run).map_or(0, |at| at + 1);
    let start = text[..end]
        .rfind(|c| !is_of_run(c))
        .map_or(0, |at| at + text[at..].chars().next().map_or(0, char::len_utf8));
    [&text[..start], value, &text[end..]].concat()
}

/// The result of decoding a line.
#[track_caller]
fn outcome(line: &[u8]) -> Outcome {
    by_all_paths(&[], line).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()))
}

/// The result of decoding an event with these members beside `event`.
#[track_caller]
fn with(members: &str) -> Decoded {
    outcome(format!(r#"{{"event": "e", {members}}}"#).as_bytes()).expect(members)
}

#[track_caller]
fn measured(json: &str) -> Option<Value> {
    with(&format!(r#""measurements": {{"m": {json}}}"#)).event.measurements["m"].value.clone()
}

#[track_caller]
fn described(json: &str) -> String {
    with(&format!(r#""metadata": {{"m": {json}}}"#)).event.metadata["m"].clone()
}

#[track_caller]
fn rejected(line: &str) -> Malformed {
    match outcome(line.as_bytes()) {
        Err(Reject::Malformed(reason)) => reason,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_name_is_split_at_every_dot() {
    for (name, parts) in [
        ("a", &["a"][..]),
        ("tool.execution.stop", &["tool", "execution", "stop"]),
        ("a..b", &["a", "", "b"]),
        (".", &["", ""]),
        ("a.", &["a", ""]),
    ] {
        let decoded = outcome(format!(r#"{{"event": "{name}"}}"#).as_bytes()).unwrap();
        assert_eq!(
            (decoded.event.event_parts, &*decoded.name),
            (parts.iter().map(ToString::to_string).collect(), name)
        );
    }
    assert_eq!(outcome(br#"{"event": "a\u002eb"}"#).unwrap().event.event_parts, ["a", "b"]);
}

#[test]
fn integers_become_integer_measurements() {
    for (json, int) in [
        ("5", 5),
        ("-0", 0),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("true", 1),
        ("false", 0),
    ] {
        assert_eq!(measured(json), Some(IntValue(int)), "{json}");
    }
}

#[test]
fn floats_become_float_measurements() {
    let beyond = "9".repeat(400);
    for (json, float) in [
        ("1.0", 1.0),
        ("1E5", 1e5),
        ("0.1", 0.1),
        ("-0.0", -0.0),
        ("5e-324", 5e-324),
        ("9223372036854775808", 2f64.powi(63)),
        ("-9223372036854775809", -2f64.powi(63)),
        ("18446744073709551617", 2f64.powi(64)),
        (&beyond, f64::INFINITY),
        ("1e999", f64::INFINITY),
        ("-1e999", f64::NEG_INFINITY),
        ("Infinity", f64::INFINITY),
        ("-Infinity", f64::NEG_INFINITY),
    ] {
        match measured(json) {
            Some(FloatValue(got)) => assert_eq!(got.to_bits(), float.to_bits(), "{json} became {got}"),
            other => panic!("{json} became {other:?}"),
        }
    }
    assert!(matches!(measured("NaN"), Some(FloatValue(float)) if float.is_nan()));
}

#[test]
fn strings_arrays_and_objects_become_text_measurements() {
    for json in [r#"[1, {"a":[]}]"#, "{}", r#"{ "a" :NaN,"a": 1e5 }"#] {
        assert_eq!(measured(json), Some(StringValue(json.into())));
    }
    assert_eq!(measured(r#""a\tb""#), Some(StringValue("a\tb".into())));
    assert_eq!(measured(r#""""#), Some(StringValue(String::new())));
    assert_eq!(measured("null"), None);
}

#[test]
fn metadata_values_keep_their_json_text() {
    for json in ["true", "null", "1.50", "-0", "1e999", r#"{"a":  [1,"\u00e9"]}"#, "NaN"] {
        assert_eq!(described(json), json);
    }
    assert_eq!(described(r#""\u00e9 \ud83d\ude00 \/""#), "é 😀 /");
}

#[test]
fn invalid_utf8_and_lone_surrogates_are_replaced() {
    for (json, text) in [
        (&b"\"\\ud800\""[..], "\u{fffd}"),
        (b"\"\\udc00\\ud800x\"", "\u{fffd}\u{fffd}x"),
        (b"\"\\ud800\\u0041\"", "\u{fffd}A"),
        (b"\"a\xff\xc3b\"", "a\u{fffd}\u{fffd}b"),
        (b"[\"\xff\"]", "[\"\u{fffd}\"]"),
    ] {
        let line = [br#"{"event": "e", "metadata": {"m": "#, json, b"}}"].concat();
        assert_eq!(outcome(&line).unwrap().event.metadata["m"], text, "{}", json.escape_ascii());
    }
}

#[test]
fn timestamps_are_read_or_replaced_by_the_time_of_reading() {
    for (json, timestamp_ns) in [
        ("1698234567890123456", Some(1_698_234_567_890_123_456)),
        ("0", Some(0)),
        ("-1", Some(-1)),
        ("9223372036854775807", Some(i64::MAX)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("1.5e3", Some(1500)),
        ("2.9", Some(2)),
        ("-2.9", Some(-2)),
        ("-9223372036854775808.0", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("9223372036854775807.0", None),
        ("1e999", None),
        ("NaN", None),
        ("true", None),
        ("\"5\"", None),
        ("[5]", None),
        ("null", None),
    ] {
        let decoded = with(&format!(r#""timestamp_ns": {json}"#));
        assert_eq!(decoded.timestamp_given.then_some(decoded.timestamp_ns), timestamp_ns, "{json}");
    }
}

#[test]
fn correlation_ids_come_from_the_event_or_its_metadata() {
    for (members, id) in [
        (r#""correlation_id": "a""#, "a"),
        (r#""correlation_id": "a", "metadata": {"correlation_id": "b"}"#, "a"),
        (r#""correlation_id": 7.50"#, "7.50"),
        (r#""correlation_id": {"a": 1}"#, r#"{"a": 1}"#),
        (r#""correlation_id": false"#, "false"),
        (r#""correlation_id": """#, ""),
        (r#""correlation_id": "", "metadata": {"correlation_id": "b"}"#, "b"),
        (r#""correlation_id": null, "metadata": {"correlation_id": 8}"#, "8"),
        (r#""metadata": {"correlation_id": "b"}"#, "b"),
        (r#""metadata": {"correlation_id": null}"#, ""),
        (r#""metadata": {}"#, ""),
    ] {
        assert_eq!(with(members).event.correlation_id, id, "{members}");
    }
}

#[test]
fn missing_unknown_and_repeated_keys() {
    for members in [r#""x": 1"#, r#""measurements": null, "metadata": null"#, r#""Measurements": {"a": 1}"#] {
        let event = with(members).event;
        assert!(event.measurements.is_empty() && event.metadata.is_empty(), "{members}");
    }
    let twice = with(
        r#""event": "f", "measurements": {"a": 1, "b": 2, "\u0061": 3}, "metadata": [], "metadata": {}"#,
    );
    assert_eq!(twice.name, "f");
    let value = |int| TelemetryValue { value: Some(IntValue(int)) };
    assert_eq!(twice.event.measurements, [("a".into(), value(3)), ("b".into(), value(2))].into());
    assert_eq!(with(r#""measurements": {"a": 1}, "measurements": {}"#).event.measurements, [].into());
}

#[test]
fn malformed_lines_have_the_right_reason() {
    let table: [(Malformed, &[&str]); 11] = [
        (Json, &["", " ", "{", r#"{"event": "a"} x"#, r#"{"event": "a",}"#, r"{'event': 'a'}"]),
        (Json, &[r#"{"event": "a", "x": [1}}"#, r#"{"event": "a", "x": {"y": 1]}"#, r#"{"event": "a"]"#]),
        (Json, &[r#"{"event" "a"}"#, r#"{"event":: "a"}"#, r#"{"event": "a" "x": 1}"#]),
        (Json, &[r#"{"event": "a", "x": [1,]}"#, r#"{"event": "\x"}"#, r#"{"event": "\u12"}"#]),
        (Json, &["{\"event\": \"a\nb\"}", "{\"event\": \"a\x1f\"}"]),
        (NotObject, &["[]", "1", r#""event""#, "null", "NaN", r#"[{"event": "a"}]"#]),
        (Event, &["{}", r#"{"event": ""}"#, r#"{"event": 1}"#, r#"{"event": "a", "event": ""}"#]),
        (Shape, &[r#"{"event": "a", "metadata": []}"#, r#"{"event": "a", "measurements": "x"}"#]),
        (Shape, &[r#"{"event": "a", "metadata": {}, "metadata": false}"#]),
        // The first reason that applies is reported.
        (Json, &[r#"{"event": 1, "metadata": 2"#]),
        (Event, &[r#"{"event": null, "metadata": 1}"#]),
    ];
    for (reason, lines) in table {
        for line in lines {
            assert_eq!(rejected(line), reason, "{line}");
        }
    }
    for number in
        ["01", "-01", "00.5", "1.", "-1.", ".5", "+1", "-", "1.e5", "1e", "1e+", "0x1", "1_0", "nan"]
    {
        let line = format!(r#"{{"event": "e", "measurements": {{"m": {number}}}}}"#);
        assert_eq!(rejected(&line), Json, "{line}");
    }
}

#[test]
fn metadata_from_options_is_added_if_the_key_is_missing() {
    let own = [("a", "1"), ("b", "2"), ("correlation_id", "3")];
    let own = own.map(|(key, value)| (key.into(), value.into()));
    for metadata in [r#"{"a": "x"}"#, r#"{"\u0061": "x"}"#] {
        let line = format!(r#"{{"event": "e", "metadata": {metadata}}}"#);
        let event = by_all_paths(&own, line.as_bytes()).unwrap().unwrap().event;
        let expected = [("a", "x"), ("b", "2"), ("correlation_id", "3")];
        assert_eq!(event.metadata, expected.map(|(key, value)| (key.into(), value.into())).into());
        assert_eq!(event.correlation_id, "", "that is the worker's to say");
    }
}

#[test]
fn repeated_metadata_options_give_the_same_result_on_all_paths() {
    let own = [("a", "1"), ("a", "2")].map(|(key, value)| (key.into(), value.into()));
    let outcome = by_all_paths(&own, br#"{"event": "e"}"#);
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

#[test]
fn a_message_over_the_grpc_limit_is_oversized() {
    let line = |byte: &[u8], count| {
        [br#"{"event": "e", "metadata": {"m": ""#, &byte.repeat(count)[..], br#""}}"#].concat()
    };
    let overhead = {
        let mut batch = BatchBuilder::default();
        Decoder::default().decode(&line(b"x", MAX_MESSAGE_BYTES / 2), NOW, &mut batch).unwrap();
        batch.take().message(0).unwrap().len() - MAX_MESSAGE_BYTES / 2
    };
    assert!(outcome(&line(b"x", MAX_MESSAGE_BYTES - overhead)).is_ok());
    let one_more = outcome(&line(b"x", MAX_MESSAGE_BYTES - overhead + 1));
    // An invalid byte is replaced by the three bytes of U+FFFD.
    let expands = outcome(&line(b"\xff", MAX_MESSAGE_BYTES / 2));
    assert_eq!([one_more.err(), expands.err()], [Some(Reject::Oversized); 2]);
}

#[test]
fn a_correlation_id_of_invalid_utf8_fits_after_replacement() {
    // Each byte is replaced by three, once in the metadata and once in the id.
    let line =
        [br#"{"event": "e", "metadata": {"correlation_id": ""#, &b"\xff".repeat(100_000)[..], br#""}}"#];
    let event = outcome(&line.concat()).unwrap().event;
    assert!(event.correlation_id == "\u{FFFD}".repeat(100_000));
    assert!(event.metadata["correlation_id"] == event.correlation_id);
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let depth = 100_000;
        let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let line = format!(r#"{{"event": "e", "unknown": {nested}, "metadata": {{"m": {nested}}}}}"#);
        let small = thread::Builder::new().stack_size(128 * 1024);
        let decoded = small.spawn(move || outcome(line.as_bytes())).unwrap().join().unwrap();
        assert!(decoded.unwrap().event.metadata["m"] == nested);
    }
}

#[test]
fn all_paths_agree_on_what_may_be_behind_an_event() {
    let event = r#"{"event": "a.b", "measurements": {"duration": 5}, "metadata": {"tool": "x"}}"#;
    let mut decoder = Decoder::default();
    for (behind, length) in [
        ("", Some(0)),
        (" \t\r\n", Some(4)),
        ("\x1b[0m\n", Some(0)),
        (" \x1b[0m \x1b[K\n", Some(1)),
        ("TELEMETRY:{", Some(0)),
        (" \x1b(BTELEMETRY: \t{", Some(1)),
        ("TELEMETRY:", None),
        ("TELEMETRY:[", None),
        ("\x1b[0", None),
        ("\x1b[0mx", None),
        ("}", None),
        (" text\n", None),
    ] {
        let line = [event, behind].concat();
        let expected = length.map(|length| event.len() + length).ok_or(Reject::Malformed(Malformed::Json));
        let mut batch = BatchBuilder::default();
        assert_eq!(decoder.decode_slowly(line.as_bytes(), NOW, &mut batch), expected, "slow: {behind:?}");
        // The first line of a shape takes the fast path, the second one the path of known shapes.
        for path in ["fast", "shape"] {
            assert_eq!(decoder.decode(line.as_bytes(), NOW, &mut batch), expected, "{path}: {behind:?}");
        }
        let batch = batch.take();
        assert_eq!(batch.len(), if expected.is_ok() { 3 } else { 0 });
        assert!((1..batch.len()).all(|index| batch.message(index) == batch.message(0)), "{behind:?}");
        assert!(batch.event(0).is_none_or(|event| event.name == b"a.b"));
    }
}
