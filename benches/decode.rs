//! What it takes to make one JSON line one gRPC frame, on one core.
//!
//!     cargo bench --bench decode -- [--rounds N] [--instructions] [--json]
//!
//! Beside the sidecar's decoder stand two ways through serde and prost. Times are medians of rounds in turn. Where they
//! are too noisy, `--instructions` counts instructions instead, under valgrind, whose speed does not matter.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

mod lines;
mod value;

use prost::Message as _;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap, hint::black_box, process::Command, time::Instant};
use telemetry_sidecar::{
    event::{
        batch::BatchBuilder,
        frame::PREFIX_BYTES,
        proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
    },
    input::decode::Decoder,
};

/// How many lines become one batch: about what one read of the worker's pipe brings.
const BATCH_LINES: usize = 512;
const NOW_NS: i64 = 1_795_254_651_000_000_000;
/// Lines timed at once: so many that what the first of them cost, in cold caches and a cold allocator, does not count.
const TIMED_LINES: usize = 16 * 1024;
/// Lines counted under valgrind: once this many, and once twice as many, so that the start does not count.
const COUNTED_LINES: usize = 4096;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (mut rounds, mut instructions, mut json) = (101, false, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo says this to every benchmark.
            "--bench" => {}
            "--rounds" => rounds = words.next().ok_or("--rounds needs a number")?.parse()?,
            "--instructions" => instructions = true,
            "--json" => json = true,
            // What this program runs under valgrind.
            "--repeat" => return repeat(&words.collect::<Vec<_>>()),
            other => return Err(format!("unknown option '{other}'").into()),
        }
    }
    let shapes: Vec<(Shape, Vec<String>)> = Shape::ALL.map(|shape| (shape, shape.lines())).into();
    for (shape, lines) in &shapes {
        check(*shape, lines)?;
    }
    let (unit, table) = if instructions {
        ("instructions", count_instructions()?)
    } else {
        ("ns", take_times(&shapes, rounds))
    };
    for (shape, row) in Shape::ALL.iter().zip(&table) {
        let [sidecar, typed, value] = *row;
        if json {
            println!(
                r#"{{"shape": "{shape:?}", "unit": "{unit}", "sidecar": {sidecar:.1}, "typed": {typed:.1}, "value": {value:.1}}}"#
            );
        } else {
            println!(
                "{:32} {unit} a line: sidecar {sidecar:6.0}, typed serde {typed:6.0} ({:4.1} x), Value {value:6.0} ({:4.1} x)",
                shape.title(),
                typed / sidecar,
                value / sidecar
            );
        }
    }
    Ok(())
}

/// What lines look like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    One,
    Cycling,
    Unseen,
    Tiny,
    Escapes,
}

impl Shape {
    const ALL: [Self; 5] = [Self::One, Self::Cycling, Self::Unseen, Self::Tiny, Self::Escapes];

    fn title(self) -> &'static str {
        match self {
            Self::One => "257 bytes, one shape",
            Self::Cycling => "257 bytes, eight shapes in turn",
            Self::Unseen => "257 bytes, a new shape each time",
            Self::Tiny => "76 bytes, one shape",
            Self::Escapes => "1 KB with escapes",
        }
    }

    /// Lines of this shape. Those whose shape is new each time are too many for any cache of shapes.
    fn lines(self) -> Vec<String> {
        let count = if self == Self::Unseen { 8192 } else { 1024 };
        (0..count).map(|number| self.line(number)).collect()
    }

    fn line(self, number: u64) -> String {
        let usual = |bytes| lines::event(number, NOW_NS.cast_unsigned() + number * 1_000_003, bytes);
        let renamed = |key: String| usual(257).replace("queue_time", &key).replace("resize", "blur_x");
        match self {
            Self::One => usual(257),
            Self::Cycling => renamed(format!("queue_tim{}", number % 8)),
            Self::Unseen => renamed(format!("q_{number:08x}")),
            Self::Tiny => usual(76),
            Self::Escapes => {
                let message = r#"File \"worker.py\", line 12\n\tin caf\u00e9 \ud83d\ude00"#;
                let plain = usual(1024 - 6 * message.len());
                plain.replace("resize", &format!("resize{}", message.repeat(6)))
            }
        }
    }
}

/// A way from lines to frames.
type Way = fn(&[String], usize);

const WAYS: [(&str, Way); 3] = [("sidecar", sidecar), ("typed", typed), ("value", through_value)];

/// All lines, again and again until there were `count`.
fn batches(lines: &[String], count: usize) -> impl Iterator<Item = impl Iterator<Item = &String>> {
    (0..count).step_by(BATCH_LINES).map(move |first| {
        (first..count.min(first + BATCH_LINES)).map(move |number| &lines[number % lines.len()])
    })
}

fn sidecar(lines: &[String], count: usize) {
    let mut decoder = Decoder::default();
    let mut builder = BatchBuilder::default();
    for batch in batches(lines, count) {
        for line in batch {
            // Whether it is right is checked before.
            let _ = decoder.decode(black_box(line.as_bytes()), NOW_NS, &mut builder);
        }
        black_box(builder.take());
    }
}

fn typed(lines: &[String], count: usize) {
    through_prost(lines, count, decode_typed);
}

fn through_value(lines: &[String], count: usize) {
    through_prost(lines, count, value::decode);
}

fn through_prost(lines: &[String], count: usize, decode: fn(&str) -> Option<TelemetryEvent>) {
    let mut frames = Vec::new();
    for batch in batches(lines, count) {
        for event in batch.filter_map(|line| decode(black_box(line))) {
            frames.extend_from_slice(&[0; PREFIX_BYTES]);
            // A vector has room for anything.
            let _ = event.encode(&mut frames);
        }
        black_box(&frames);
        frames.clear();
    }
}

/// What a serde user with an eye on speed writes; it takes numbers and strings only.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    measurements: BTreeMap<&'a str, serde_json::Number>,
    #[serde(borrow, default)]
    metadata: BTreeMap<&'a str, Text<'a>>,
    #[serde(default)]
    timestamp_ns: i64,
    #[serde(borrow, default)]
    correlation_id: Cow<'a, str>,
}

/// In a map a bare `Cow` would never borrow.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn decode_typed(json: &str) -> Option<TelemetryEvent> {
    let typed: Typed<'_> = serde_json::from_str(json).ok()?;
    let value = |number: serde_json::Number| TelemetryValue {
        value: number.as_i64().map(Value::IntValue).or(number.as_f64().map(Value::FloatValue)),
    };
    let measurements = typed.measurements.into_iter();
    let metadata = typed.metadata.into_iter();
    Some(TelemetryEvent {
        event_parts: typed.event.split('.').map(str::to_owned).collect(),
        measurements: measurements.map(|(key, number)| (key.to_owned(), value(number))).collect(),
        metadata: metadata.map(|(key, text)| (key.to_owned(), text.0.into_owned())).collect(),
        timestamp_ns: typed.timestamp_ns,
        correlation_id: typed.correlation_id.into_owned(),
    })
}

/// All ways have the same result; otherwise there would be nothing to compare.
fn check(shape: Shape, lines: &[String]) -> Result<(), Failure> {
    let mut decoder = Decoder::default();
    let mut builder = BatchBuilder::default();
    for line in lines {
        let rejected = |reject| format!("{shape:?}: {reject:?}: {line}");
        decoder.decode(line.as_bytes(), NOW_NS, &mut builder).map_err(rejected)?;
    }
    let batch = builder.take();
    for (number, line) in lines.iter().enumerate() {
        let event = TelemetryEvent::decode(batch.message(number).unwrap_or_default())?;
        if value::decode(line).as_ref() != Some(&event) || decode_typed(line).as_ref() != Some(&event) {
            return Err(format!("{shape:?}: decoded differently: {line}").into());
        }
    }
    Ok(())
}

/// Nanoseconds a line: a row for each shape, a column for each way.
fn take_times(shapes: &[(Shape, Vec<String>)], rounds: usize) -> Vec<[f64; 3]> {
    let mut times = vec![[const { Vec::new() }; 3]; shapes.len()];
    for _ in 0..rounds {
        for ((_, lines), row) in shapes.iter().zip(&mut times) {
            for ((_, way), column) in WAYS.iter().zip(row) {
                let start = Instant::now();
                way(lines, TIMED_LINES);
                column.push(start.elapsed().as_nanos() as f64 / TIMED_LINES as f64);
            }
        }
    }
    times.into_iter().map(|row| row.map(median)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Instructions a line, likewise.
fn count_instructions() -> Result<Vec<[f64; 3]>, Failure> {
    let mut table = Vec::new();
    for shape in Shape::ALL {
        let mut row = [0.0; 3];
        for ((way, _), cell) in WAYS.iter().zip(&mut row) {
            let lines = COUNTED_LINES * if shape == Shape::Unseen { 2 } else { 1 };
            let [once, twice] = [lines, 2 * lines].map(|lines| instructions(shape, way, lines));
            *cell = (twice? - once?) / lines as f64;
        }
        table.push(row);
    }
    Ok(table)
}

/// What this program executes for so many lines, its start included.
fn instructions(shape: Shape, way: &str, lines: usize) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--repeat", &format!("{shape:?}"), way, &lines.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.split_once("Collected :").ok_or_else(|| format!("valgrind: {text}"))?.1;
    Ok(collected.split_whitespace().next().unwrap_or_default().parse()?)
}

/// `--repeat SHAPE WAY LINES`
fn repeat(words: &[String]) -> Result<(), Failure> {
    let [shape, way, lines] = words else {
        return Err("--repeat needs a shape, a way and a number of lines".into());
    };
    let shape = Shape::ALL.into_iter().find(|known| format!("{known:?}") == *shape).ok_or("which shape?")?;
    let (_, way) = WAYS.iter().find(|(name, _)| name == way).ok_or("which way?")?;
    way(&shape.lines(), lines.parse()?);
    Ok(())
}
