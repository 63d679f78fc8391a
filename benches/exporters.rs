//! The CPU time that each exporter takes for an event when events come as fast as they can be read: a
//! recording of equal `.stop` events, replayed by the program itself.
//!
//!     cargo bench --bench exporters -- [--count N] [--rounds N] [--json] [--binary FILE]...
//!     cargo bench --bench exporters -- --parts
//!
//! What the replay takes without an exporter is subtracted. The time is that of the whole process, so what an
//! exporter costs the thread that reads is in it. Rounds alternate between cases and binaries, and the least
//! time of all rounds counts: other load on the machine only adds to it. With `--binary` other builds of the
//! program are measured, in the same rounds.
//!
//! `--parts` times the parts that need no thread and no socket: to read an encoded event, to decode it with
//! prost for comparison, and what is done with it then.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

mod lines;

use nix::sys::resource::{UsageWho, getrusage};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    fs::File,
    hint::black_box,
    io::{BufWriter, Write as _},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};
use telemetry_sidecar::{
    event::{
        batch::BatchBuilder,
        frame::{self, Prefix},
        json,
        proto::bridge::TelemetryEvent,
        view::Views,
    },
    exporter::{digest::Digest, metrics::sample::Measures, prometheus::series::Metrics},
    input::decode::Decoder,
};

/// What is replayed without an exporter: a server that has no clients.
const ALONE: &str = "replay alone";

const JSON_BYTES: usize = 257;
const FIRST_NS: u64 = 1_795_254_651_000_000_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let (mut count, mut rounds, mut json, mut binaries) = (200_000, 5, false, Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo passes this to every benchmark.
            "--bench" => {}
            "--count" => count = words.next().ok_or("--count needs a number")?.parse()?,
            "--rounds" => rounds = words.next().ok_or("--rounds needs a number")?.parse()?,
            "--json" => json = true,
            "--parts" => return time_parts(),
            "--binary" => binaries.push(PathBuf::from(words.next().ok_or("--binary needs a file")?)),
            other => return Err(format!("unknown option '{other}'").into()),
        }
    }
    if binaries.is_empty() {
        binaries.push(env!("CARGO_BIN_EXE_telemetry-sidecar").into());
    }
    let directory = tempfile::tempdir()?;
    let recording = directory.path().join("events.log");
    record(&recording, count)?;
    // It is never read: what does not fit its queue is discarded by the system.
    let server = UdpSocket::bind("127.0.0.1:0")?;
    let cases = cases(server.local_addr()?.port());
    let mut least = BTreeMap::new();
    for _ in 0..rounds {
        for binary in &binaries {
            for (case, options) in &cases {
                let seconds = cpu_seconds(binary, options, &recording)?;
                let known = least.entry((binary, *case)).or_insert(seconds);
                *known = seconds.min(*known);
            }
        }
    }
    for binary in &binaries {
        let ns = |case| least.get(&(binary, case)).map_or(f64::NAN, |seconds| seconds * 1e9 / count as f64);
        for (case, _) in &cases {
            let all = ns(case);
            let own = if *case == ALONE { all } else { all - ns(ALONE) };
            let binary = binary.display();
            if json {
                println!(r#"{{"binary": "{binary}", "case": "{case}", "ns": {own:.0}, "all_ns": {all:.0}}}"#);
            } else {
                println!("{binary}: {case:22} {own:6.0} ns of CPU an event ({all:.0} with the replay)");
            }
        }
    }
    Ok(())
}

/// Writes a recording of this many events.
fn record(path: &Path, count: u64) -> Result<(), Failure> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..count {
        writeln!(file, "TELEMETRY:{}", lines::event(number, FIRST_NS + number * 1000, JSON_BYTES))?;
    }
    Ok(file.flush()?)
}

/// The cases with their options.
fn cases(port: u16) -> Vec<(&'static str, Vec<String>)> {
    let server = format!("udp://127.0.0.1:{port}");
    let cases: [(&str, &[&str]); 6] = [
        (ALONE, &["--listen", "127.0.0.1:0", "--wait-for-subscribers", "0"]),
        ("jsonl", &["--export-jsonl", "/dev/null"]),
        ("prometheus", &["--export-prometheus", "127.0.0.1:0"]),
        ("prometheus with labels", &["--export-prometheus", "127.0.0.1:0", "--metric-label", "tool"]),
        ("statsd", &["--export-statsd", &server]),
        (
            "dogstatsd with labels",
            &["--export-statsd", &server, "--statsd-dialect", "dogstatsd", "--metric-label", "tool"],
        ),
    ];
    cases.map(|(case, options)| (case, options.iter().map(|option| (*option).to_owned()).collect())).into()
}

/// The CPU time of one replay.
fn cpu_seconds(binary: &Path, options: &[String], recording: &Path) -> Result<f64, Failure> {
    let used = || -> nix::Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let time = usage.user_time() + usage.system_time();
        Ok(time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
    };
    let before = used()?;
    let mut command = Command::new(binary);
    command.arg("replay").arg("--no-stderr").args(options).arg(recording);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(used()? - before)
}

/// Events in one chunk: about as many as an exporter takes at a time.
const CHUNK_EVENTS: u64 = 128;

/// Chunks in one timed round.
const CHUNKS: u64 = 100;

/// Times the parts of exporting an event.
fn time_parts() -> Result<(), Failure> {
    let (mut decoder, mut batch) = (Decoder::default(), BatchBuilder::default());
    for number in 0..CHUNK_EVENTS {
        let line = lines::event(number, FIRST_NS, JSON_BYTES);
        decoder.decode(line.as_bytes(), 0, &mut batch).map_err(|error| format!("{error:?}"))?;
    }
    let batch = batch.take();
    let mut frames = Vec::new();
    for message in (0..batch.len()).filter_map(|event| batch.message(event)) {
        frames.extend(Prefix { compressed: false, length: u32::try_from(message.len())? }.to_bytes());
        frames.extend(message);
    }
    let frames = frames.as_slice();
    let mut metrics = Metrics::new(Measures::default(), 1000, &"snakepit".parse()?);
    let mut digest = Digest::new(telemetry_sidecar::exporter::digest::Limits::default());
    let mut lines = Vec::new();
    time("read", || {
        let mut events = Views::of(frames);
        while let Some(event) = events.read() {
            black_box(event);
        }
    });
    time("decode with prost", || {
        for message in frame::whole(frames) {
            black_box(TelemetryEvent::decode(message).is_ok());
        }
    });
    time("read and write as JSON", || {
        lines.clear();
        let mut events = Views::of(frames);
        while let Some(event) = events.read() {
            json::write(&mut lines, event, Some(event.timestamp_ns()));
        }
        black_box(&lines);
    });
    time("read and add to Prometheus' metrics", || {
        let mut events = Views::of(frames);
        while let Some(event) = events.read() {
            metrics.add(event);
        }
    });
    time("read and add to a digest", || {
        black_box(digest.add_frames(frames));
    });
    Ok(())
}

/// Prints the least time of many rounds, for one event.
fn time(part: &str, mut work: impl FnMut()) {
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..CHUNKS).for_each(|_| work());
        start.elapsed()
    };
    let least = (0..51).map(|_| round(&mut work)).min().unwrap_or_default();
    println!("{part:36} {:5.0} ns an event", least.as_secs_f64() * 1e9 / (CHUNKS * CHUNK_EVENTS) as f64);
}
