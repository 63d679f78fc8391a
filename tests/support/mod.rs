//! Starting the real binary in tests, talking to it, and telling everything when something is wrong.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

pub mod certificates;
pub mod http2;
pub mod refusal;

/// The books.
pub type Status = telemetry_sidecar::proto::sidecar::GetStatusResponse;

use std::{
    fmt::Debug,
    io::{Read, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use telemetry_sidecar::proto::{
    bridge::{
        TelemetryControl, TelemetryEvent, bridge_service_client::BridgeServiceClient, telemetry_control,
    },
    sidecar::{GetStatusRequest, GetStatusResponse, sidecar_client::SidecarClient},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_telemetry-sidecar");

/// How long anything may take before a test gives up. Nothing takes that long; machines may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for an asynchronous value that satisfies a condition.
pub async fn wait_for<T: Debug>(
    what: &str,
    mut get: impl AsyncFnMut() -> T,
    condition: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = get().await;
        if condition(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}; last: {value:#?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A command that ran to its end.
#[derive(Debug)]
pub struct Finished {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails, telling everything, unless it exited with this code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(self.status.code() == Some(code), "expected exit code {code} of {}", self.describe());
        self
    }

    /// Fails, telling everything, unless it was killed by this signal.
    #[track_caller]
    pub fn expect_signal(&self, signal: i32) -> &Self {
        assert!(
            self.status.signal() == Some(signal),
            "expected death by signal {signal} of {}",
            self.describe()
        );
        self
    }

    pub fn describe(&self) -> String {
        format!("{}\n{:?}\nstdout: {}\nstderr: {}", self.command, self.status, self.stdout(), self.stderr())
    }
}

/// Runs the binary to its end with nothing on stdin.
pub fn run(arguments: &[&str]) -> Finished {
    Sidecar::command(arguments).stdin(Stdio::null()).start().finish()
}

/// A running sidecar; killed when dropped.
pub struct Sidecar {
    pub dir: TempDir,
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collector,
    stderr: Collector,
}

/// Collects a pipe's bytes as they come.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collector {
    fn new(source: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let reader = source.map(|mut source| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut chunk = vec![0; 65536];
                while let Ok(count @ 1..) = source.read(&mut chunk) {
                    bytes.lock().unwrap().extend_from_slice(&chunk[..count]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn finish(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        std::mem::take(&mut *self.bytes.lock().unwrap())
    }
}

/// A sidecar to be started.
pub struct Builder {
    command: Command,
    dir: TempDir,
}

impl Builder {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.command.stdin(stdin);
        self
    }

    pub fn stderr(mut self, stderr: Stdio) -> Self {
        self.command.stderr(stderr);
        self
    }

    pub fn stdout(mut self, stdout: Stdio) -> Self {
        self.command.stdout(stdout);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn start(mut self) -> Sidecar {
        let description = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{description}: {error}"));
        Sidecar {
            dir: self.dir,
            command: description,
            stdin: child.stdin.take(),
            stdout: Collector::new(child.stdout.take()),
            stderr: Collector::new(child.stderr.take()),
            child,
        }
    }
}

impl Sidecar {
    /// The binary with these arguments and pipes for all three streams. `{dir}` in an argument is a temporary
    /// directory of its own.
    pub fn command(arguments: &[&str]) -> Builder {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(arguments.iter().map(|word| word.replace("{dir}", dir.path().to_str().unwrap())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Builder { command, dir }
    }

    /// Wraps a shell script, serving on a port that [`port`](Self::port) tells.
    pub fn wrap(options: &[&str], script: &str) -> Self {
        Self::wrap_command(options, &["sh", "-c", script])
    }

    /// Wraps a command, serving on a port that [`port`](Self::port) tells.
    pub fn wrap_command(options: &[&str], command: &[&str]) -> Self {
        let words = [&["--ready-file", "{dir}/ready"], options, &["--"], command].concat();
        Self::command(&words).start()
    }

    /// Wraps a worker that writes to stderr what the test [writes](Self::write) to it, until that ends.
    pub fn wrap_echo(options: &[&str]) -> Self {
        Self::wrap(options, "exec cat >&2")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// The lines of the ready file, waiting for it.
    pub fn ready_lines(&self) -> Vec<String> {
        let path = self.path("ready");
        wait_until("the ready file", || path.exists());
        std::fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// The port it serves on.
    pub fn port(&self) -> u16 {
        self.ready_lines()[0].parse().unwrap()
    }

    /// Writes to the worker's stdin.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdin.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until stderr holds this.
    pub fn wait_for_stderr(&self, what: &str) {
        let what = what.as_bytes();
        wait_until("output on stderr", || {
            self.stderr.bytes.lock().unwrap().windows(what.len()).any(|bytes| bytes == what)
        });
    }

    /// What stderr holds so far.
    pub fn stderr_so_far(&self) -> Vec<u8> {
        self.stderr.bytes.lock().unwrap().clone()
    }

    /// Waits until stdout holds this many bytes, and returns them.
    pub fn wait_for_stdout(&self, at_least: usize) -> String {
        wait_until("output on stdout", || self.stdout.bytes.lock().unwrap().len() >= at_least);
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).into_owned()
    }

    /// Closes the worker's stdin and waits until the worker has ended and been reaped.
    pub async fn end_worker(&mut self) {
        let worker = PathBuf::from(format!("/proc/{}", self.status().await.worker.unwrap().pid));
        self.close_stdin();
        wait_until("the worker to be reaped", || !worker.exists());
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the process alone, not for its output to end.
    pub fn wait(&mut self) -> ExitStatus {
        self.close_stdin();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not exit", self.command);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes stdin and waits for the end.
    pub fn finish(mut self) -> Finished {
        let status = self.wait();
        Finished {
            command: self.command.clone(),
            status,
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        }
    }

    /// Waits for the end and shows what a file then holds.
    pub fn finish_reading(mut self, path: &Path, check: impl FnOnce(String)) {
        self.wait();
        check(std::fs::read_to_string(path).unwrap());
        self.finish().expect_code(0);
    }

    /// Waits for the end, after which this file must still be there.
    pub fn finish_keeping(mut self, path: &Path) -> Finished {
        self.wait();
        assert!(path.exists(), "{} is gone", path.display());
        self.finish()
    }

    pub async fn channel(&self) -> Channel {
        connect(&format!("http://127.0.0.1:{}", self.port())).await
    }

    /// Opens a subscription and waits for the response headers.
    pub async fn subscribe(&self) -> Subscriber {
        Subscriber::open(self.channel().await).await
    }

    pub async fn status(&self) -> GetStatusResponse {
        StatusClient::new(self.channel().await).get().await
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if !self.has_exited() {
            // A test that failed: let it go, and with it the worker.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

pub async fn connect(uri: &str) -> Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(uri.to_owned()).unwrap();
    endpoint.connect().await.unwrap_or_else(|error| panic!("{uri}: {error:?}"))
}

/// Asks for the books.
#[derive(Clone)]
pub struct StatusClient(SidecarClient<Channel>);

impl StatusClient {
    pub fn new(channel: Channel) -> Self {
        Self(SidecarClient::new(channel))
    }

    /// The books, which must balance.
    pub async fn get(&mut self) -> GetStatusResponse {
        let status = self.0.get_status(GetStatusRequest {}).await.unwrap().into_inner();
        assert_balanced(&status);
        status
    }
}

/// Checks every equation of the books.
#[track_caller]
pub fn assert_balanced(status: &GetStatusResponse) {
    let stream = status.stream.unwrap();
    let malformed = stream.malformed.unwrap();
    let malformed = malformed.json + malformed.not_object + malformed.event + malformed.shape;
    let passed = stream.bytes_passed + stream.bytes_removed + stream.bytes_dropped + stream.bytes_held;
    assert_eq!(stream.bytes_read, passed, "bytes: {status:#?}");
    assert_eq!(stream.telemetry_lines, stream.decoded + malformed + stream.oversized, "lines: {status:#?}");
    assert_eq!(stream.events, stream.decoded + stream.embedded, "events: {status:#?}");
    let backlog = status.backlog.unwrap();
    assert_eq!(
        backlog.taken_in,
        backlog.handed_over + backlog.dropped + backlog.waiting,
        "backlog: {status:#?}"
    );
    for consumer in status.subscribers.iter().chain(&status.exporters).chain(&status.departed) {
        let accounted = consumer.delivered
            + consumer.switched_off
            + consumer.filtered
            + consumer.sampled_out
            + consumer.dropped
            + consumer.abandoned
            + consumer.queued;
        assert_eq!(consumer.offered, accounted, "consumer: {consumer:#?}");
    }
}

/// A subscription.
pub struct Subscriber {
    controls: mpsc::Sender<TelemetryControl>,
    pub events: Streaming<TelemetryEvent>,
}

impl Subscriber {
    pub async fn open(channel: Channel) -> Self {
        let (controls, receiver) = mpsc::channel(16);
        let mut client = BridgeServiceClient::new(channel);
        let events = client.stream_telemetry(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { controls, events }
    }

    pub async fn control(&self, control: telemetry_control::Control) {
        self.controls.send(TelemetryControl { control: Some(control) }).await.unwrap();
    }

    /// The next event.
    pub async fn next(&mut self) -> TelemetryEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.message()).await.expect("no event comes");
        event.unwrap().expect("the stream has ended")
    }

    /// All events until the stream ends, which must be with status OK.
    pub async fn rest(&mut self) -> Vec<TelemetryEvent> {
        let mut rest = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.events.message()).await.expect("the stream does not end") {
                Ok(Some(event)) => rest.push(event),
                Ok(None) => return rest,
                Err(status) => panic!("the stream ended with {status:?} after {} events", rest.len()),
            }
        }
    }
}

/// A telemetry line with a name, a count and a correlation id.
pub fn line(event: &str, count: usize, correlation_id: &str) -> String {
    format!(
        "TELEMETRY:{{\"event\": \"{event}\", \"measurements\": {{\"count\": {count}}}, \"metadata\": {{}}, \
         \"timestamp_ns\": {count}, \"correlation_id\": \"{correlation_id}\"}}\n"
    )
}

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
