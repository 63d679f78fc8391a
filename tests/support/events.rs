//! Lines to decode, what they decode to, and short words for what differs.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::Config,
};
use prost::Message as _;
use telemetry_sidecar::{batch::Batch, decode::Reject, proto::bridge::TelemetryEvent};

/// The default configuration, without files for failures: the smallest one is printed.
pub fn properties() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

/// The event of this number, as a subscriber would see it. Its frame must be a whole one.
#[track_caller]
pub fn event(batch: &Batch, index: usize) -> TelemetryEvent {
    let frame = &batch.frames()[batch.frame_range(index..index + 1)];
    let message = batch.message(index).expect("there is such an event");
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    assert_eq!(frame[..5], [&[0], &length[..]].concat(), "the frame's prefix");
    TelemetryEvent::decode(message).expect("the message decodes")
}

/// An event, and what its batch says of it.
#[derive(Debug, Clone)]
pub struct Decoded {
    pub event: TelemetryEvent,
    pub name: String,
    pub correlation_id: String,
    pub timestamp_ns: i64,
    pub timestamp_given: bool,
}

pub type Outcome = Result<Decoded, Reject>;
/// Where two byte strings differ first, in one short line; nothing if they are the same.
pub fn difference(expected: &[u8], got: &[u8]) -> Option<String> {
    if expected == got {
        return None;
    }
    let at = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
    let lengths = format!("{} and {} bytes", expected.len(), got.len());
    Some(format!("{lengths}, from byte {at} on expected {}, got {}", excerpt(expected, at), excerpt(got, at)))
}

fn excerpt(bytes: &[u8], at: usize) -> String {
    let end = bytes.len().min(at + 60);
    let more = if end < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", bytes[at..end].escape_ascii())
}

/// A way to write JSON: before and after the text, around commas, around colons.
const LAYOUTS: [[&str; 4]; 6] = [
    ["", "\n", ", ", ": "],
    ["", "", ",", ":"],
    [" ", "\r\n", ", ", ": "],
    ["", "\n", " , ", " : "],
    ["\t\r", " \t\n", ",\r\n", ":\t"],
    ["", " x\n", ", ", ": "],
];

/// Lines (what follows `TELEMETRY:`) as workers print them, right and not so right.
pub fn lines() -> impl Strategy<Value = Bytes> {
    let usual = vec(member(), 0..7);
    let complete = (name(), vec(member(), 0..6), any::<Index>()).prop_map(|(name, mut members, at)| {
        members.insert(at.index(members.len() + 1), ("\"event\"".into(), name));
        members
    });
    let members = prop_oneof![1 => usual, 4 => complete];
    let layout = prop_oneof![8 => select(&LAYOUTS[..2]), 2 => select(&LAYOUTS[..])];
    (members, layout).prop_map(|(members, [before, after, comma, colon])| {
        format!("{before}{}{after}", object(&members, comma, colon)).into()
    })
}

/// Any value may be where an event should be.
pub fn documents() -> impl Strategy<Value = Bytes> {
    value().prop_map(Bytes::from)
}

/// Lines with a few bytes changed, put in or taken out, or cut off.
pub fn damaged_lines() -> impl Strategy<Value = Bytes> {
    whole_and_damaged().prop_map(|(_, damaged)| damaged)
}

/// A line, and the same with a few bytes changed, put in or taken out, or cut off.
pub fn whole_and_damaged() -> impl Strategy<Value = (Bytes, Bytes)> {
    let byte = prop_oneof![select(&b"\"\\{}[],:. -+eE019tfnuNI\n\r\t\0\x1f\x7f\xc3\xff"[..]), any::<u8>()];
    (lines(), vec((0..5, any::<bool>(), any::<Index>(), byte), 1..4)).prop_map(|(whole, damages)| {
        let mut line = Vec::from(whole.clone());
        for (kind, structure, at, byte) in damages {
            let is_structure = |at: &usize| line.get(*at).is_none_or(|byte| b"{}[],:\"\\".contains(byte));
            let places: Vec<_> = (0..=line.len()).filter(|at| !structure || is_structure(at)).collect();
            let at = *at.get(&places);
            match kind {
                0 => line.insert(at, byte),
                1 => line.truncate(at),
                _ if at == line.len() => line.push(byte),
                2 => drop(line.remove(at)),
                3 => line[at] ^= 1 << (byte % 8),
                _ => line[at] = byte,
            }
        }
        (whole, line.into())
    })
}

/// Pieces of JSON in any order.
pub fn soup() -> impl Strategy<Value = Bytes> {
    let fixed = "{ } { } [ ] , , : : 0 -0 01 1. .5 1e5 1e 1e+ - + tru \"a \" \\ \\u12 'a' \u{a0} \u{feff}";
    let fixed = select(fixed.split(' ').collect::<Vec<_>>()).prop_map(String::from);
    let start = Just(String::from(r#"{"event":"a","#));
    vec(prop_oneof![3 => fixed, 1 => start, 1 => key(), 1 => scalar(), 1 => Just(" ".into())], 0..12)
        .prop_map(|pieces| pieces.concat().into())
}

/// One member of an event's object: usually what belongs there, sometimes anything.
fn member() -> impl Strategy<Value = (String, String)> {
    let of = |key: &str, value: BoxedStrategy<String>| (Just(format!("\"{key}\"")), value);
    let optional = |inner: BoxedStrategy<String>| prop_oneof![9 => inner, 1 => Just("null".into())].boxed();
    prop_oneof![
        2 => of("event", name().boxed()),
        4 => of("measurements", optional(map(scalar().boxed()))),
        4 => of("metadata", optional(map(string().boxed()))),
        1 => of("measurements", map(value().boxed())),
        1 => of("metadata", map(value().boxed())),
        2 => of("timestamp_ns", any::<i64>().prop_map(|ns| ns.to_string()).boxed()),
        1 => of("timestamp_ns", number().boxed()),
        3 => of("correlation_id", optional(string().boxed())),
        1 => (key(), value()),
    ]
}

/// Keys of events and of their maps, some of them written with escapes.
fn key() -> impl Strategy<Value = String> {
    let keys =
        "event measurements metadata timestamp_ns correlation_id Event \\u0065vent meta\\u0064ata a b c é";
    let known = select(keys.split(' ').collect::<Vec<_>>()).prop_map(|key| format!("\"{key}\""));
    prop_oneof![4 => known, 1 => string()]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z]{1,6}(\\.[a-z_]{0,6}){0,3}".prop_map(|name| format!("\"{name}\"")),
        1 => string(),
        1 => value(),
    ]
}

fn map(values: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let simple = "[a-z]{1,3}".prop_map(|key| format!("\"{key}\""));
    let layout = select(&LAYOUTS[..5]);
    // More than sixteen keys, now and then.
    let size = prop_oneof![9 => 0..5usize, 1 => 14..20usize];
    (size, layout)
        .prop_flat_map(move |(size, layout)| {
            (vec((prop_oneof![simple.clone(), key()], values.clone()), size), Just(layout))
        })
        .prop_map(|(members, [_, _, comma, colon])| object(&members, comma, colon))
        .boxed()
}

/// Any JSON value, nested a little.
fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        let array = vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(", ")));
        prop_oneof![array, map(inner.boxed())]
    })
}

fn scalar() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &["true", "false", "null", "NaN", "Infinity", "-Infinity"];
    prop_oneof![4 => number(), 4 => string(), 2 => select(WORDS).prop_map(String::from)]
}

/// Strings with all that strings may have.
fn string() -> impl Strategy<Value = String> {
    let escapes =
        r#"\n \" \\ \/ \b \f \r \t \u0041 \u00e9 \u0000 \ud83d\ude00 \ud800 \udc00\ud800 é 😀 . TELEMETRY:{"#;
    let odd = select(escapes.split(' ').collect::<Vec<_>>()).prop_map(String::from);
    prop_oneof![
        4 => " ?[!#-\\[\\]-~]{0,10} ?".prop_map(|plain| format!("\"{plain}\"")),
        1 => vec(prop_oneof![odd, "[ -!#-\\[\\]-~é]{0,4}"], 0..5)
            .prop_map(|parts| format!("\"{}\"", parts.concat())),
        1 => Just("\"\"".into()),
    ]
}

/// Numbers, above all where something changes; and a few that are none.
fn number() -> impl Strategy<Value = String> {
    let edges = "0 -0 0.0 -0.0 0e5 1.0 1E5 1e+2 2e-3 1e308 1e309 -1e999 5e-324 1e-400 0.1 9007199254740993 \
        9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 9223372036854775807.0 \
        18446744073709551615 18446744073709551616 1698234567890123456 1.698234567890123456e18 123456789.987654321";
    let finite_64 = any::<f64>().prop_filter("JSON has no other", |float| float.is_finite());
    let finite_32 = any::<f32>().prop_filter("JSON has no other", |float| float.is_finite());
    let wrong = "01 -01 00.5 1. -1. .5 +1 - 1.e5 1e 1e+ 0x1 1_0 inf nan";
    prop_oneof![
        1 => select(wrong.split(' ').collect::<Vec<_>>()).prop_map(String::from),
        6 => select(edges.split_whitespace().collect::<Vec<_>>()).prop_map(String::from),
        6 => any::<i32>().prop_map(|int| int.to_string()),
        3 => any::<i64>().prop_map(|int| int.to_string()),
        3 => finite_64.prop_map(|float| format!("{float:?}")),
        3 => finite_32.prop_map(|float| format!("{float}")),
        3 => "-?[1-9][0-9]{15,24}",
        3 => "-?(0|[1-9][0-9]{0,20})\\.[0-9]{1,20}",
        3 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?[eE][-+]?[0-9]{1,3}",
    ]
}

fn object(members: &[(String, String)], comma: &str, colon: &str) -> String {
    let members: Vec<_> = members.iter().map(|(key, value)| format!("{key}{colon}{value}")).collect();
    format!("{{{}}}", members.join(comma))
}

/// The table of the design once more, on top of `serde_json::Value`.
///
/// serde_json refuses some of what the sidecar accepts (NaN, `1e999`, lone surrogates, invalid UTF-8, 128 levels):
/// such lines have example tests. And a `Value` no longer knows how a number or an array was written, so
/// - JSON text is checked to stand in the line and to mean the same value;
/// - `-0` is like `-0.0`, so either of what these become is fine;
/// - an integer just below -2^63 is like the float -2^63, which as a time is in range, so either is fine.
pub mod by_serde_json {
    use super::Outcome;
    use proptest::prelude::*;
    use serde_json::{Map, Number, Value as Json};
    use telemetry_sidecar::{
        decode::Reject,
        proto::bridge::telemetry_value::Value::{self, FloatValue, IntValue, StringValue},
        stats::Malformed::{self, Event, NotObject, Shape},
    };

    pub fn check(line: &[u8], outcome: &Outcome) -> Result<(), TestCaseError> {
        match serde_json::from_slice(line) {
            Ok(value) => agree(std::str::from_utf8(line).unwrap(), &value, outcome)?,
            Err(error) if is_for_the_sidecar(line, &error.to_string()) => {}
            Err(_) => prop_assert_eq!(outcome.as_ref().err(), Some(&Reject::Malformed(Malformed::Json))),
        }
        Ok(())
    }

    /// Whether the sidecar may accept what serde_json refuses.
    fn is_for_the_sidecar(line: &[u8], error: &str) -> bool {
        let errors = ["out of range", "recursion", "surrogate", "hex escape", "unicode"];
        let text = String::from_utf8_lossy(line);
        errors.iter().any(|part| error.contains(part)) || text.contains("NaN") || text.contains("Infinity")
    }

    fn agree(line: &str, value: &Json, outcome: &Outcome) -> Result<(), TestCaseError> {
        let (fields, decoded) = match (expected(value), outcome) {
            (Ok(fields), Ok(decoded)) => (fields, decoded),
            (expected, got) => {
                prop_assert_eq!(expected.err().map(Reject::Malformed), got.as_ref().err().copied());
                return Ok(());
            }
        };
        prop_assert_eq!(&decoded.name, fields.name);
        let keys = |map: &Map<String, Json>| map.keys().cloned().collect::<Vec<_>>();
        let event = &decoded.event;
        prop_assert_eq!(event.measurements.keys().cloned().collect::<Vec<_>>(), keys(&fields.measurements));
        for (key, value) in &fields.measurements {
            let got = event.measurements.get(key).and_then(|value| value.value.as_ref());
            prop_assert!(is_measurement(line, value, got), "measurement {key:?}: {value} became {got:?}");
        }
        prop_assert_eq!(event.metadata.keys().cloned().collect::<Vec<_>>(), keys(&fields.metadata));
        for (key, value) in &fields.metadata {
            let got = &event.metadata[key];
            prop_assert!(is_text(line, value, got), "metadata {key:?}: {value} became {got:?}");
        }
        let id = [value.get("correlation_id"), fields.metadata.get("correlation_id")];
        let id = id.into_iter().flatten().find(|id| !id.is_null() && **id != "");
        let id = id.unwrap_or(&Json::Null);
        let got = &event.correlation_id;
        prop_assert!(
            if id.is_null() { got.is_empty() } else { is_text(line, id, got) },
            "{id} became {got:?}"
        );

        let given = decoded.timestamp_given.then_some(decoded.timestamp_ns);
        let least = given == Some(i64::MIN) || given.is_none();
        match value.get("timestamp_ns") {
            Some(Json::Number(number)) if least && number.as_f64() == Some(-2f64.powi(63)) => {}
            Some(Json::Number(number)) => prop_assert_eq!(given, instant(number)),
            _ => prop_assert_eq!(given, None),
        }
        Ok(())
    }

    struct Fields<'a> {
        name: &'a str,
        measurements: Map<String, Json>,
        metadata: Map<String, Json>,
    }

    fn expected(value: &Json) -> Result<Fields<'_>, Malformed> {
        let object = value.as_object().ok_or(NotObject)?;
        let name = object.get("event").and_then(Json::as_str).filter(|name| !name.is_empty()).ok_or(Event)?;
        let map = |key| match object.get(key) {
            None | Some(Json::Null) => Ok(Map::new()),
            Some(Json::Object(map)) => Ok(map.clone()),
            Some(_) => Err(Shape),
        };
        Ok(Fields { name, measurements: map("measurements")?, metadata: map("metadata")? })
    }

    fn is_measurement(line: &str, value: &Json, got: Option<&Value>) -> bool {
        match (value, got) {
            (Json::Null, None) => true,
            (Json::Bool(value), Some(IntValue(int))) => i64::from(*value) == *int,
            (Json::Number(value), Some(IntValue(int))) => {
                value.as_i64().map_or(value.to_string() == "-0.0", |value| value == *int)
            }
            (Json::Number(value), Some(FloatValue(float))) => {
                value.as_i64().is_none() && value.as_f64().map(f64::to_bits) == Some(float.to_bits())
            }
            (Json::String(_) | Json::Array(_) | Json::Object(_), Some(StringValue(text))) => {
                is_text(line, value, text)
            }
            _ => false,
        }
    }

    fn is_text(line: &str, value: &Json, got: &str) -> bool {
        match value {
            Json::String(text) => text == got,
            _ => line.contains(got) && serde_json::from_str::<Json>(got).is_ok_and(|got| got == *value),
        }
    }

    fn instant(number: &Number) -> Option<i64> {
        let float = number.as_f64().filter(|_| number.is_f64());
        let in_range = float.filter(|float| (-2f64.powi(63)..2f64.powi(63)).contains(float));
        #[allow(clippy::cast_possible_truncation, reason = "a fraction is cut off")]
        in_range.map(|float| float as i64).or(number.as_i64())
    }
}
