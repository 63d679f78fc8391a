//! Processes of the binary: start, observation and end.

use super::{TIMEOUT, dispositions, wait_until};
use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    fs,
    io::{Read, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_telemetry-sidecar");

/// The result of a command that has exited.
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

    /// Fails with all details unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(self.status.code() == Some(code), "expected exit code {code} of {}", self.describe());
        self
    }

    /// Fails with all details unless this signal killed the process.
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

/// Runs the binary until it exits, with /dev/null as stdin.
pub fn run(arguments: &[&str]) -> Finished {
    Sidecar::command(arguments).stdin(Stdio::null()).start().finish()
}

/// A running sidecar; killed when dropped.
pub struct Sidecar {
    pub dir: TempDir,
    command: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
}

/// Collects the bytes of a pipe in a thread.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collected {
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

/// A sidecar that is not started yet.
pub struct Builder {
    command: Command,
    pub dir: TempDir,
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

    /// Limits its open files with these words of the shell's `ulimit`, as `-n 40`.
    pub fn limited(self, limit: &str) -> Self {
        self.after(&format!("ulimit {limit}"))
    }

    /// Starts it in a shell's process after this command.
    pub fn after(mut self, command: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{command} && exec \"$0\" \"$@\""));
        shell.arg(self.command.get_program()).args(self.command.get_args());
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command = shell;
        self
    }

    /// Starts it in its own temporary directory.
    pub fn in_its_directory(mut self) -> Self {
        self.command.current_dir(self.dir.path());
        self
    }

    /// Starts it as the leader of a process group.
    pub fn in_its_group(mut self) -> Self {
        self.command.process_group(0);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn start(mut self) -> Sidecar {
        dispositions::reset();
        let description = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{description}: {error}"));
        Sidecar {
            dir: self.dir,
            command: description,
            stdin: child.stdin.take(),
            stdout: Collected::new(child.stdout.take()),
            stderr: Collected::new(child.stderr.take()),
            child,
        }
    }
}

impl Sidecar {
    /// The binary with these arguments and pipes for all three streams. `{dir}` in an argument stands for the
    /// sidecar's own temporary directory.
    pub fn command(arguments: &[&str]) -> Builder {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.args(arguments.iter().map(|word| word.replace("{dir}", dir.path().to_str().unwrap())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Builder { command, dir }
    }

    /// Wraps a shell script and serves on a free port, see [`port`](Self::port).
    pub fn wrap(options: &[&str], script: &str) -> Self {
        Self::wrap_command(options, &["sh", "-c", script])
    }

    /// Wraps a command and serves on a free port, see [`port`](Self::port).
    pub fn wrap_command(options: &[&str], command: &[&str]) -> Self {
        let words = [&["--ready-file", "{dir}/ready"], options, &["--"], command].concat();
        Self::command(&words).start()
    }

    /// Wraps a worker that copies its stdin, see [`write`](Self::write), to stderr.
    pub fn wrap_echo(options: &[&str]) -> Self {
        Self::wrap(options, "exec cat >&2")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).unwrap();
    }

    /// Waits for the ready file and returns its lines.
    pub fn ready_lines(&self) -> Vec<String> {
        let path = self.path("ready");
        wait_until("the ready file", || path.exists());
        fs::read_to_string(path).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// The port that the sidecar serves on.
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

    /// Waits until stderr contains this text.
    pub fn wait_for_stderr(&self, what: &str) {
        let what = what.as_bytes();
        wait_until("output on stderr", || {
            self.stderr.bytes.lock().unwrap().windows(what.len()).any(|bytes| bytes == what)
        });
    }

    /// The bytes on stderr so far.
    pub fn stderr_so_far(&self) -> Vec<u8> {
        self.stderr.bytes.lock().unwrap().clone()
    }

    /// Waits until stdout has this many bytes, and returns all of them.
    pub fn wait_for_stdout(&self, at_least: usize) -> String {
        wait_until("output on stdout", || self.stdout.bytes.lock().unwrap().len() >= at_least);
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).into_owned()
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits only for the process, not for the end of its output.
    pub fn wait(&mut self) -> ExitStatus {
        self.close_stdin();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not exit", self.command);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes stdin and waits for exit and the end of the output.
    pub fn finish(mut self) -> Finished {
        let status = self.wait();
        Finished {
            command: self.command.clone(),
            status,
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        }
    }

    /// Waits for the exit and passes the content of a file to `check`.
    pub fn finish_reading(mut self, path: &Path, check: impl FnOnce(String)) {
        self.wait();
        check(fs::read_to_string(path).unwrap());
        self.finish().expect_code(0);
    }

    /// Waits for the exit, after which this file must still exist.
    pub fn finish_keeping(mut self, path: &Path) -> Finished {
        self.wait();
        assert!(path.exists(), "{} is gone", path.display());
        self.finish()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if !self.has_exited() {
            // The test failed: kill the sidecar, and thereby end the worker.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The resident memory of the sidecar in KiB.
pub fn memory_kib(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}
