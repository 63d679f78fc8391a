//! The cost of turning one JSON line into one gRPC frame, on one core.
//!
//!     cargo bench --bench decode -- [--rounds N] [--instructions] [--json]
//!     cargo bench --bench decode -- --ceilings FILE
//!
//! The sidecar's decoder is compared with two ways that use serde and prost. Times are medians of alternating
//! rounds. On a noisy machine `--instructions` counts instructions under valgrind instead. `--ceilings`
//! counts those of the sidecar's decoder and fails if they exceed the ceilings in the file.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

mod counting;
mod lines;
mod value;

use prost::Message as _;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeMap, hint::black_box, time::Instant};
use telemetry_sidecar::{
    event::{
        batch::BatchBuilder,
        frame::PREFIX_BYTES,
        proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
    },
    input::decode::Decoder,
};

/// Lines in one batch: about as many as one read of the worker's pipe returns.
const BATCH_LINES: usize = 512;
const NOW_NS: i64 = 1_795_254_651_000_000_000;
/// Lines in one timed round: enough that cold caches and a cold allocator do not matter.
const TIMED_LINES: usize = 16 * 1024;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (mut rounds, mut instructions, mut json) = (101, false, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo passes this to every benchmark.
            "--bench" => {}
            "--rounds" => rounds = words.next().ok_or("--rounds needs a number")?.parse()?,
            "--instructions" => instructions = true,
            "--json" => json = true,
            "--ceilings" => return counting::check_ceilings(&words.next().ok_or("--ceilings needs a file")?),
            // This program calls itself with this option under valgrind.
            "--repeat" => return repeat(&words.collect::<Vec<_>>()),
            other => return Err(format!("unknown option '{other}'").into()),
        }
    }
    let shapes: Vec<(Shape, Vec<String>)> = Shape::ALL.map(|shape| (shape, shape.lines())).into();
    for (shape, lines) in &shapes {
        check(*shape, lines)?;
    }
    let (unit, table) = if instructions {
        ("instructions", counting::count_all()?)
    } else {
        ("ns", take_times(&shapes, rounds))
    };
    for (shape, row) in Shape::ALL.iter().zip(&table) {
        let [sidecar, typed, value] = *row;
        if json {
            print!(r#"{{"shape": "{shape:?}", "unit": "{unit}", "#);
            println!(r#""sidecar": {sidecar:.1}, "typed": {typed:.1}, "value": {value:.1}}}"#);
        } else {
            println!(
                "{:32} {unit} a line: sidecar {sidecar:6.0}, typed serde {typed:6.0} ({:4.1} x), \
                 Value {value:6.0} ({:4.1} x)",
                shape.title(),
                typed / sidecar,
                value / sidecar
            );
        }
    }
    Ok(())
}

/// The structure of the lines.
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

    fn named(name: &str) -> Result<Self, Failure> {
        let known = Self::ALL.into_iter().find(|shape| format!("{shape:?}") == name);
        known.ok_or_else(|| format!("unknown shape '{name}'").into())
    }

    /// Lines of this shape. If each line has a new shape, there are more lines than any cache has shapes.
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

/// Turns lines into frames.
type Way = fn(&[String], usize);

const WAYS: [(&str, Way); 3] = [("sidecar", sidecar), ("typed", typed), ("value", through_value)];

/// Repeats the lines up to `count` and splits them into batches.
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
            // The results were checked before.
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
            // Writing to a vector does not fail.
            let _ = event.encode(&mut frames);
        }
        black_box(&frames);
        frames.clear();
    }
}

/// A fast serde decoder, for numbers and strings only.
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

/// A bare `Cow` in a map would never borrow.
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

/// Checks that all ways have the same result.
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

/// `--repeat SHAPE WAY LINES`
fn repeat(words: &[String]) -> Result<(), Failure> {
    let [shape, way, lines] = words else {
        return Err("--repeat needs a shape, a way and a number of lines".into());
    };
    let shape = Shape::named(shape)?;
    let (_, way) = WAYS.iter().find(|(name, _)| name == way).ok_or_else(|| format!("unknown way '{way}'"))?;
    way(&shape.lines(), lines.parse()?);
    Ok(())
}
