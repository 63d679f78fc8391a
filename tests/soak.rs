//! Random workers, subscribers and failures, in rounds, from a seed that is printed. After each round the
//! counters add up, every byte and event is accounted for, and memory and descriptors are back at their
//! initial level.
//!
//!     SOAK_SECONDS=600 cargo test --release --test soak -- --nocapture
//!     SOAK_SEED=7 cargo test --test soak            # what failed with seed 7, again

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use fastrand::Rng;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use support::{BINARY, Sidecar, StatusClient, Subscriber, http2::PREFACE, line, wait_for};
use telemetry_sidecar::event::proto::bridge::{
    TelemetryEventFilter, TelemetrySamplingUpdate, TelemetryToggle, telemetry_control::Control,
};
use tokio::{task::JoinSet, time::sleep};

/// The duration of failures in a round.
const ROUND: Duration = Duration::from_secs(2);

/// How much the memory may grow in a round, in KiB: a full backlog, the buffer of a long line, and memory
/// that the allocator keeps.
const SLACK_KIB: u64 = 24 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_balance_under_random_load_and_failures() {
    let number = |name: &str| std::env::var(name).ok().map(|word| word.parse::<u64>().expect(name));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let mut seed = number("SOAK_SEED").unwrap_or(u64::try_from(now).unwrap());
    let until = Instant::now() + Duration::from_secs(number("SOAK_SECONDS").unwrap_or(1));
    loop {
        println!("round with SOAK_SEED={seed}");
        round(Rng::with_seed(seed)).await;
        if Instant::now() >= until {
            return;
        }
        seed += 1;
    }
}

async fn round(mut rng: Rng) {
    let embedded = *rng.choice(&["auto", "copy", "strip", "ignore"]).unwrap();
    let capacity = rng.u32(1..5000).to_string();
    let when_full = *rng.choice(&["drop-newest", "drop-oldest"]).unwrap();
    let sidecar = Sidecar::command(&[
        "--ready-file",
        "{dir}/ready",
        // No lines about losses: what is compared is the worker's output alone.
        "-q",
        "--embedded",
        embedded,
        "--queue-capacity",
        &capacity,
        "--queue-bytes",
        "2000000",
        "--when-full",
        when_full,
        "--export-jsonl",
        "{dir}/jsonl",
        "--record",
        "{dir}/record",
        "--max-line-bytes",
        "100000",
        "--export-prometheus",
        "127.0.0.1:0",
        // No server listens at this address.
        "--export-otlp=http://127.0.0.1:9",
        "--export-statsd",
        "udp://127.0.0.1:9",
        "--",
        "sh",
        "-c",
        "exec cat >&2",
    ]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut sidecar = sidecar.stderr(Stdio::from(writer)).start();
    let passed = read_with_pauses(reader, rng.fork());
    let port = sidecar.port();
    let mut status = StatusClient::new(sidecar.channel().await);
    // The answer shows that this connection was accepted, too.
    status.get().await;
    let before = Footprint::of(&sidecar);

    let over = Arc::new(AtomicBool::new(false));
    let faults = spawn_faults(port, &mut rng, &over);
    let written = write_lines(&mut sidecar, rng.fork()).await;
    over.store(true, Ordering::Relaxed);
    faults.join_all().await;

    let read = wait_for(
        "all to be read",
        async || status.get().await,
        |status| {
            status.stream.unwrap().bytes_read == written.len() as u64 && status.subscribers.is_empty()
            // Queued lines may remain unwritten when the drain timeout expires.
            && status.exporters.iter().all(|exporter| exporter.queued == 0)
        },
    );
    let books = read.await;
    let back =
        |now: &Footprint| now.sockets <= before.sockets && now.memory_kib < before.memory_kib + SLACK_KIB;
    wait_for("sockets and memory to be given back", async || Footprint::of(&sidecar), back).await;

    // Some workers exit, others are killed.
    let kill = rng.bool();
    if kill {
        let worker = i32::try_from(status.get().await.worker.unwrap().pid).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), nix::sys::signal::SIGKILL).unwrap();
    }
    let dir = fs::canonicalize(sidecar.path("")).unwrap();
    sidecar.wait();
    let stderr = passed.join().unwrap();
    fs::write(dir.join("written"), &written).unwrap();
    let events = decode(&dir.join("written"), embedded);
    let exported = fs::read_to_string(dir.join("jsonl")).unwrap().lines().count();
    let recorded = fs::read(dir.join("record")).unwrap();
    let finished = sidecar.finish();
    if kill {
        finished.expect_signal(9)
    } else {
        finished.expect_code(0)
    };

    let stream = books.stream.unwrap();
    let jsonl = books.exporters.iter().find(|exporter| exporter.name == "jsonl").unwrap();
    assert_eq!(stream.events, events, "events are those that were written: {stream:#?}");
    // A slow disk may cost both, but the losses are counted.
    assert_eq!(exported as u64 + jsonl.dropped, events, "every event is exported");
    assert!(written.starts_with(&recorded), "the recording is what was written");
    assert!(recorded.len() == written.len() || books.recording.unwrap().stopped, "all of it");
    // Bytes that were held as possible telemetry pass at the end.
    assert_eq!(stderr.len() as u64, stream.bytes_passed + stream.bytes_held, "{stream:#?}");
}

/// The number of events in a recording.
fn decode(recording: &std::path::Path, embedded: &str) -> u64 {
    let mut decode = Command::new(BINARY);
    decode.args(["decode", "--embedded", embedded, "--max-line-bytes", "100000"]).arg(recording);
    let output = decode.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().count() as u64
}

/// The resources of a process.
#[derive(Debug)]
struct Footprint {
    sockets: usize,
    memory_kib: u64,
}

impl Footprint {
    fn of(sidecar: &Sidecar) -> Self {
        let proc = format!("/proc/{}", sidecar.pid());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        // The number of other descriptors changes only while the worker starts.
        let links = fs::read_dir(format!("{proc}/fd"))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let sockets = links.filter(|link| link.to_string_lossy().starts_with("socket:"));
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self { sockets: sockets.count(), memory_kib: memory.trim().trim_end_matches(" kB").parse().unwrap() }
    }
}

/// Reads the passed-through output, with pauses.
fn read_with_pauses(mut pipe: std::io::PipeReader, mut rng: Rng) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut chunk) = (Vec::new(), vec![0; 65536]);
        while let Ok(count @ 1..) = pipe.read(&mut chunk) {
            all.extend_from_slice(&chunk[..count]);
            if rng.u32(0..50) == 0 {
                thread::sleep(Duration::from_millis(rng.u64(0..50)));
            }
        }
        all
    })
}

/// Writes lines of all kinds in pieces of random size, and returns all bytes.
async fn write_lines(sidecar: &mut Sidecar, mut rng: Rng) -> Vec<u8> {
    let until = Instant::now() + ROUND;
    let mut all = Vec::new();
    while Instant::now() < until {
        let mut text = Vec::new();
        for _ in 0..rng.usize(0..200) {
            text.extend(some_line(&mut rng));
        }
        // A full pipe blocks the writer.
        tokio::task::block_in_place(|| {
            text.chunks(rng.usize(1..20_000)).for_each(|piece| sidecar.write(piece));
        });
        all.extend(text);
        sleep(Duration::from_micros(rng.u64(0..3000))).await;
    }
    all
}

fn some_line(rng: &mut Rng) -> Vec<u8> {
    let length = if rng.u32(0..1000) == 0 { rng.usize(0..300_000) } else { rng.usize(0..200) };
    let filling = "x".repeat(length);
    let event = line(&format!("soak.{}", rng.u32(0..9)), rng.usize(0..99), &filling).into_bytes();
    match rng.u32(0..20) {
        0..8 => event,
        8..12 => format!("ordinary {filling}\n").into_bytes(),
        12 => [format!("{filling}\r 50%").as_bytes(), &event].concat(),
        13 => event[..rng.usize(0..event.len())].to_vec(),
        14 => b"TELEMETRY:{\"event\": 1}\n".to_vec(),
        15 => b"TELEMETRY:not json\n".to_vec(),
        16 => (0..length).map(|_| rng.u8(..)).collect(),
        17 => b"TELEM".to_vec(),
        18 => filling.into_bytes(),
        _ => b"\n".to_vec(),
    }
}

/// All kinds of clients, until the round is over.
fn spawn_faults(port: u16, rng: &mut Rng, over: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut faults = JoinSet::new();
    for _ in 0..rng.usize(1..6) {
        faults.spawn(subscribers(port, rng.fork(), Arc::clone(over)));
    }
    for _ in 0..rng.usize(0..3) {
        let (mut rng, over) = (rng.fork(), Arc::clone(over));
        faults.spawn_blocking(move || {
            let held = Mutex::new(Vec::new());
            while !over.load(Ordering::Relaxed) {
                garbage(port, &mut rng, &held);
            }
        });
    }
    faults
}

/// Subscribes repeatedly; reads fast, slowly or not at all; sends controls; disconnects without notice.
async fn subscribers(port: u16, mut rng: Rng, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let channel = support::connect(&format!("http://127.0.0.1:{port}")).await;
        let mut subscriber = Subscriber::open(channel).await;
        let leaves = Instant::now() + Duration::from_millis(rng.u64(0..1500));
        let pause = *rng.choice(&[0, 0, 1, 100]).unwrap();
        while Instant::now() < leaves && !over.load(Ordering::Relaxed) {
            if rng.u32(0..100) == 0 {
                subscriber.control(some_control(&mut rng)).await;
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), subscriber.events.message()).await;
            if pause > 0 {
                sleep(Duration::from_millis(pause)).await;
            }
        }
    }
}

fn some_control(rng: &mut Rng) -> Control {
    let glob = *rng.choice(&["*", "soak.[0-4]", "none", "[", ""]).unwrap();
    match rng.u32(0..3) {
        0 => Control::Toggle(TelemetryToggle { enabled: rng.bool() }),
        1 => Control::Sampling(TelemetrySamplingUpdate {
            sampling_rate: *rng.choice(&[0.0, 0.5, 1.0, 7.0, f64::NAN]).unwrap(),
            event_patterns: vec![glob.into(); rng.usize(0..2)],
        }),
        _ => Control::Filter(TelemetryEventFilter {
            allow: vec![glob.into(); rng.usize(0..2)],
            deny: Vec::new(),
        }),
    }
}

/// Connects and sends nothing, garbage, or an unfinished preface; some connections stay open for a while.
fn garbage(port: u16, rng: &mut Rng, held: &Mutex<Vec<TcpStream>>) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    let garbage: Vec<u8> = (0..rng.usize(0..2000)).map(|_| rng.u8(..)).collect();
    let _ = match rng.u32(0..4) {
        0 => Ok(()),
        1 => stream.write_all(&garbage),
        2 => stream.write_all(&PREFACE[..rng.usize(0..PREFACE.len())]),
        _ => stream.write_all(&[PREFACE, &garbage].concat()),
    };
    let mut held = held.lock().unwrap();
    held.push(stream);
    if held.len() > 20 {
        held.clear();
    }
    thread::sleep(Duration::from_millis(rng.u64(0..10)));
}
