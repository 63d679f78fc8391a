//! Strategies for lines to decode, and short descriptions of differences.

use bytes::Bytes;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::Config,
};

/// The default configuration without files for failures: the smallest failing case is printed.
pub fn properties() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

/// The first difference of two byte strings in one short line; `None` if they are equal.
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

/// A JSON layout: text before and after the object, at commas, at colons.
const LAYOUTS: [[&str; 4]; 6] = [
    ["", "\n", ", ", ": "],
    ["", "", ",", ":"],
    [" ", "\r\n", ", ", ": "],
    ["", "\n", " , ", " : "],
    ["\t\r", " \t\n", ",\r\n", ":\t"],
    ["", " x\n", ", ", ": "],
];

/// Lines (the part after `TELEMETRY:`) as workers print them, valid and slightly invalid.
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

/// Any JSON value in place of an event.
pub fn documents() -> impl Strategy<Value = Bytes> {
    value().prop_map(Bytes::from)
}

/// Lines that are truncated or have a few bytes changed, inserted or removed.
pub fn damaged_lines() -> impl Strategy<Value = Bytes> {
    whole_and_damaged().prop_map(|(_, damaged)| damaged)
}

/// A line, and a copy that is truncated or has a few bytes changed, inserted or removed.
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

/// Pieces of JSON in arbitrary order.
pub fn soup() -> impl Strategy<Value = Bytes> {
    let fixed = "{ } { } [ ] , , : : 0 -0 01 1. .5 1e5 1e 1e+ - + tru \"a \" \\ \\u12 'a' \u{a0} \u{feff}";
    let fixed = select(fixed.split(' ').collect::<Vec<_>>()).prop_map(String::from);
    let start = Just(String::from(r#"{"event":"a","#));
    vec(prop_oneof![3 => fixed, 1 => start, 1 => key(), 1 => scalar(), 1 => Just(" ".into())], 0..12)
        .prop_map(|pieces| pieces.concat().into())
}

/// One member of an event's object, usually of the right type.
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

/// Keys of events and of their maps, some of them escaped.
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
    // Sometimes more than sixteen keys.
    let size = prop_oneof![9 => 0..5usize, 1 => 14..20usize];
    (size, layout)
        .prop_flat_map(move |(size, layout)| {
            (vec((prop_oneof![simple.clone(), key()], values.clone()), size), Just(layout))
        })
        .prop_map(|(members, [_, _, comma, colon])| object(&members, comma, colon))
        .boxed()
}

/// Any JSON value of small depth.
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

/// Strings with all kinds of content.
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

/// Numbers, mainly at limits, and a few invalid ones.
fn number() -> impl Strategy<Value = String> {
    let edges = "0 -0 0.0 -0.0 0e5 1.0 1E5 1e+2 2e-3 1e308 1e309 -1e999 5e-324 1e-400 0.1 9007199254740993 \
        9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 \
        9223372036854775807.0 18446744073709551615 18446744073709551616 1698234567890123456 \
        1.698234567890123456e18 123456789.987654321";
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
