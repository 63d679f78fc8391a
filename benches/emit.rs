//! A worker that prints telemetry to stderr, at a given rate or as fast as possible, and its counters to
//! stdout.
//!
//! At full speed it writes lines that were made before, so that it does not limit a measurement. With
//! `--rate` each line is one `write` and has the time of that write as its timestamp.

#![allow(clippy::cast_precision_loss, reason = "figures to look at")]

mod lines;

use clap::Parser;
use nix::{
    sys::{
        prctl,
        resource::{UsageWho, getrusage},
    },
    time::{ClockId, clock_gettime},
};
use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const PREFIX: &str = "TELEMETRY:";
const TIMESTAMP_KEY: &str = r#""timestamp_ns": "#;
const TIMESTAMP_DIGITS: usize = 19;
/// How many bytes are made before and then written again and again. They fit a core's cache.
const PREPARED_BYTES: usize = 1024 * 1024;
/// Enough lines to represent every percentage exactly.
const PREPARED_LINES: usize = 100;

#[derive(Parser)]
struct Options {
    /// Total number of lines
    #[arg(long, default_value_t = 1_000_000)]
    count: usize,
    /// Lines per second, one write each; without it as fast as possible
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of each write at full speed; 0 for one write per line
    #[arg(long, default_value_t = 65536)]
    block: usize,
    /// Bytes of JSON in a telemetry line
    #[arg(long, default_value_t = 257)]
    json_bytes: usize,
    /// Percentage of telemetry lines; the others are ordinary lines of 100 bytes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u8).range(0..=100))]
    share: u8,
    /// Start when stdin has a line or ends
    #[arg(long)]
    wait: bool,
    /// Print the time of reaching main, in nanoseconds of CLOCK_MONOTONIC, and exit
    #[arg(long)]
    mark: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reached = monotonic_ns()?;
    let options = Options::parse();
    if options.mark {
        println!("{reached}");
        return Ok(());
    }
    let prepared = Prepared::new(&options)?;
    if options.wait {
        io::stdin().read_line(&mut String::new())?;
    }
    // Unbuffered, and without the lock and the checks of `io::stderr`.
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let start_ns = monotonic_ns()?;
    match options.rate {
        Some(rate) => paced(prepared, &mut stderr, options.count, rate)?,
        None => prepared.flat_out(&mut stderr, options.count, options.block)?,
    }
    let end_ns = monotonic_ns()?;
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let cpu = usage.user_time() + usage.system_time();
    let cpu_ns = cpu.tv_sec() * 1_000_000_000 + cpu.tv_usec() * 1000;
    println!(r#"{{"start_ns": {start_ns}, "end_ns": {end_ns}, "cpu_ns": {cpu_ns}}}"#);
    Ok(())
}

/// Lines in one buffer.
struct Prepared {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Prepared {
    fn new(options: &Options) -> io::Result<Self> {
        let now = now_ns()?;
        let mixed = !matches!(options.share, 0 | 100);
        let least = if mixed { PREPARED_LINES } else { 1 };
        let ordinary = format!("{}\n", "x".repeat(99));
        let (mut bytes, mut ends, mut due) = (Vec::new(), Vec::new(), 0);
        while (bytes.len() < PREPARED_BYTES || ends.len() < least) && ends.len() < options.count {
            due += options.share;
            if due >= 100 {
                due -= 100;
                let event = lines::event(ends.len() as u64, now, options.json_bytes);
                writeln!(bytes, "{PREFIX}{event}")?;
            } else {
                bytes.extend_from_slice(ordinary.as_bytes());
            }
            ends.push(bytes.len());
        }
        Ok(Self { bytes, ends })
    }

    /// Writes all lines again and again, `block` bytes at a time.
    fn flat_out(&self, stderr: &mut File, count: usize, block: usize) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            let ends = &self.ends[..left.min(self.ends.len())];
            left -= ends.len();
            let end = ends.last().copied().unwrap_or(0);
            if block > 0 {
                for chunk in self.bytes[..end].chunks(block) {
                    stderr.write_all(chunk)?;
                }
            } else {
                let mut start = 0;
                for end in ends {
                    stderr.write_all(&self.bytes[start..*end])?;
                    start = *end;
                }
            }
        }
        Ok(())
    }
}

/// Writes one line at a time, each at its time, with that time as its timestamp.
fn paced(mut prepared: Prepared, stderr: &mut File, count: usize, rate: f64) -> io::Result<()> {
    // Without this sleeps end up to 50 µs late.
    prctl::set_timerslack(1)?;
    let lines = prepared.ends.len();
    let start = Instant::now();
    for number in 0..count {
        let (first, last) = match number % lines {
            0 => (0, prepared.ends[0]),
            line => (prepared.ends[line - 1], prepared.ends[line]),
        };
        let line = &mut prepared.bytes[first..last];
        let due = start + Duration::from_secs_f64(number as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if line.starts_with(PREFIX.as_bytes()) {
            stamp(line, now_ns()?);
        }
        stderr.write_all(line)?;
    }
    Ok(())
}

fn stamp(line: &mut [u8], now: u64) {
    let key = TIMESTAMP_KEY.as_bytes();
    // The timestamp is near the end.
    let at = line.windows(key.len()).rposition(|window| window == key);
    if let Some(at) = at {
        let digits = at + key.len()..at + key.len() + TIMESTAMP_DIGITS;
        line[digits].copy_from_slice(format!("{now:019}").as_bytes());
    }
}

fn now_ns() -> io::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    u64::try_from(now.as_nanos()).map_err(io::Error::other)
}

fn monotonic_ns() -> nix::Result<i64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() * 1_000_000_000 + now.tv_nsec())
}
