//! The cost of turning one ordinary line into a log record, on one core.
//!
//!     cargo bench --bench log -- [--rounds N] [--json]
//!
//! Times are medians of alternating rounds.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

use std::{hint::black_box, time::Instant};
use telemetry_sidecar::exporter::log::{Assembler, LineContext, Output, Record};

/// About as many bytes as one read of the worker's pipe returns.
const READ_BYTES: usize = 64 * 1024;

/// Lines in one timed round.
const TIMED_LINES: usize = 16 * 1024;

type Failure = Box<dyn std::error::Error>;

/// What the lines are, and some of them.
const SHAPES: [(&str, &str); 7] = [
    ("text without a severity", "loaded 4096 rows from shard 17 of the table in 31.7 ms, 12 were skipped\n"),
    ("Python logging", "2026-11-21 09:50:51,250 - app.jobs - WARNING - job 7 took 31.7 ms, more than 25\n"),
    ("tracing", "2026-11-21T09:50:51.250431Z  INFO job{number=7}: app::jobs: finished rows=4096\n"),
    (
        "OpenTelemetry ids",
        "2026-11-21 09:50:51,250 INFO [app] [a.py:12] [trace_id=0af7651916cd43dd8448eb211c80319c \
         span_id=b7ad6b7169203331 resource.service.name=app trace_sampled=True] - finished\n",
    ),
    (
        "JSON of pino",
        "{\"level\":30,\"time\":1795254651250,\"pid\":12,\"hostname\":\"vm\",\"job\":7,\"rows\":4096,\
         \"msg\":\"finished\"}\n",
    ),
    ("logfmt", "time=2026-11-21T09:50:51.250Z level=INFO msg=\"a job finished\" job=7 rows=4096\n"),
    (
        "traceback of Python",
        "ERROR:app:job 7 failed\nTraceback (most recent call last):\n  File \"app.py\", line 17, in run\n    \
         parse(\"ten\")\n  File \"app.py\", line 12, in parse\n    return int(text)\n\
         ValueError: invalid literal for int() with base 10: 'ten'\n",
    ),
];

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (mut rounds, mut json) = (31, false);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo passes this to every benchmark.
            "--bench" => {}
            "--rounds" => rounds = words.next().ok_or("--rounds needs a number")?.parse()?,
            "--json" => json = true,
            other => return Err(format!("unknown option '{other}'").into()),
        }
    }
    let inputs = SHAPES.map(|(_, text)| {
        let lines = text.matches('\n').count();
        text.repeat(TIMED_LINES / lines)
    });
    let mut times = SHAPES.map(|_| Vec::new());
    for _ in 0..rounds {
        for (input, times) in inputs.iter().zip(&mut times) {
            let start = Instant::now();
            let lines = read(input.as_bytes());
            times.push(start.elapsed().as_nanos() as f64 / lines as f64);
        }
    }
    for ((title, _), times) in SHAPES.iter().zip(times) {
        let ns = median(times);
        if json {
            println!(r#"{{"shape": "{title}", "unit": "ns", "line": {ns:.1}}}"#);
        } else {
            println!("{title:24} {ns:6.0} ns a line");
        }
    }
    Ok(())
}

/// Counts the lines of records.
#[derive(Default)]
struct Count(u64);

impl Output for Count {
    fn context(&mut self, _correlation_id: Option<&str>) -> Option<LineContext> {
        None
    }

    fn record(&mut self, record: Record) {
        self.0 += black_box(record).lines;
    }
}

/// Makes records of all bytes; returns the number of lines.
fn read(bytes: &[u8]) -> u64 {
    let (mut assembler, mut count) = (Assembler::default(), Count::default());
    for chunk in bytes.chunks(READ_BYTES) {
        assembler.push(black_box(chunk), 0, &mut count);
    }
    assembler.finish(&mut count);
    count.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
