//! What a terminal shows.

use super::{address, counts, tail, with_backlog};
use crate::support::{Builder, Finished, Sidecar, Status, wait_for, wait_until};
use nix::pty::openpty;
use std::{
    fs::File,
    io::Read as _,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

/// A process whose standard output is a terminal.
struct OnTerminal {
    process: Sidecar,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl OnTerminal {
    fn start(builder: Builder) -> Self {
        Self::start_with(builder, "xterm-256color")
    }

    fn start_with(builder: Builder, term: &str) -> Self {
        let pty = openpty(None, None).unwrap();
        let variables = [("TERM", term), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")];
        let builder = variables.into_iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        let process = builder.stdout(pty.slave.into()).start();
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let (mut master, writing) = (File::from(pty.master), Arc::clone(&shown));
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            // It fails when nobody has the terminal open any more.
            while let Ok(count @ 1..) = master.read(&mut chunk) {
                writing.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Self { process, shown, reader }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).replace("\r\n", "\n")
    }

    fn wait_for(&self, what: &str) {
        wait_until("output on the terminal", || self.shown().contains(what));
    }

    /// Waits for the end. What was shown.
    fn finish(self) -> (String, Finished) {
        let finished = self.process.finish();
        self.reader.join().unwrap();
        let shown = String::from_utf8_lossy(&self.shown.lock().unwrap()).replace("\r\n", "\n");
        (shown, finished)
    }
}

const EVENT: &str = "TELEMETRY:{\"event\": \"tool.call.exception\", \
                     \"measurements\": {\"duration\": 5200000}, \
                     \"metadata\": {\"message\": \"\\u001b[31mdivision\\nby zero\"}, \
                     \"timestamp_ns\": 1698234567890123456, \"correlation_id\": \"abc\"}\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_one_coloured_line_without_what_a_terminal_obeys() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let coloured = OnTerminal::start(tail(&[], &[&sidecar]));
    let plain = OnTerminal::start(tail(&[], &[&sidecar]).env("NO_COLOR", "1"));
    let dumb = OnTerminal::start_with(tail(&[], &[&sidecar]), "dumb");
    let subscribed = |status: &Status| status.subscribers.len() == 3;
    wait_for("the subscriptions", async || sidecar.status().await, subscribed).await;
    sidecar.write(EVENT);
    for terminal in [&coloured, &plain, &dumb] {
        terminal.wait_for("[abc]");
    }
    sidecar.finish().expect_code(0);
    let expected = "2023-10-25 11:49:27.890 tool.call.exception duration=5.2ms \
                    message=\"\\u{1b}[31mdivision\\nby zero\" [abc]\n";
    for terminal in [plain, dumb] {
        let (shown, finished) = terminal.finish();
        assert_eq!((shown.as_str(), finished.expect_code(0).stderr().as_str()), (expected, ""));
    }
    let (shown, _) = coloured.finish();
    let red_name = "\u{1b}[1mtool.call.exception\u{1b}[0m";
    assert!(shown.contains(red_name) && !shown.contains("\u{1b}[31md"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_several_begin_with_their_source() {
    let listen = ["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/s"];
    let (one, other) = (with_backlog(&[], &["a"]).await, with_backlog(&listen, &["b"]).await);
    let (first, second) = (address(&one), other.ready_lines()[1].clone());
    let tail = Sidecar::command(&["tail", &first, &second]).env("NO_COLOR", "1");
    let tail = OnTerminal::start(tail);
    tail.wait_for(" a count=1");
    tail.wait_for(" b count=1");
    one.finish().expect_code(0);
    other.finish().expect_code(0);
    let (shown, finished) = tail.finish();
    finished.expect_code(0);
    let mut lines: Vec<_> = shown.lines().collect();
    lines.sort_unstable();
    let time = "1970-01-01 00:00:00.000";
    let width = second.len();
    assert_eq!(lines, [format!("{first:width$} | {time} a count=1"), format!("{second} | {time} b count=1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_printed_on_a_terminal_if_it_is_asked_for() {
    let sidecar = with_backlog(&[], &["a", "b"]).await;
    let tail = OnTerminal::start(tail(&["--json"], &[&sidecar]));
    tail.wait_for("\"event\": \"b\"");
    sidecar.finish().expect_code(0);
    assert_eq!(counts(&tail.finish().0), [1, 2]);
}
