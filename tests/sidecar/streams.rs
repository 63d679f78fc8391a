//! Unusual streams and files: non-blocking, full, or without a peer.

use crate::support::{
    BINARY, Sidecar, line,
    refusal::{expect_words, refused_without},
    wait_until,
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::stat::Mode,
    unistd::mkfifo,
};
use std::{
    fs,
    io::{self, BufRead as _, Read as _},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
};

const COUNT: usize = 5_000;

/// The smallest possible pipe.
const PIPE_BYTES: libc::c_int = 4096;

/// A log with more events than fit in a pipe.
fn log() -> String {
    (0..COUNT).map(|count| line("a.b", count, &"x".repeat(50))).collect()
}

/// The number of bytes in a pipe.
fn bytes_in(pipe: &impl AsRawFd) -> libc::c_int {
    let mut bytes = 0;
    // SAFETY: the call writes one int through the pointer, which is valid for that.
    assert_eq!(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) }, 0);
    bytes
}

/// The output of a command with a non-blocking stdout that is read only when it is full.
#[track_caller]
fn stdout_of(words: &[&str]) -> Vec<u8> {
    let builder = Sidecar::command(words);
    fs::write(builder.path("log"), log()).unwrap();
    let (mut reader, writer) = io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).unwrap();
    let sidecar = builder.stdin(Stdio::null()).stdout(writer.into()).start();
    let reading = thread::spawn(move || {
        wait_until("the pipe to be full", || bytes_in(&reader) == PIPE_BYTES);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    sidecar.finish().expect_code(0);
    reading.join().unwrap()
}

#[test]
fn a_stdout_that_does_not_block_is_waited_for() {
    let script = "cat {dir}/log >&2";
    let wrap = ["-q", "--drain-timeout", "60s"];
    let decode = stdout_of(&["decode", "{dir}/log"]);
    assert_eq!(decode.lines().count(), COUNT);
    let jsonl = [&wrap[..], &["--export-jsonl", "/dev/stdout", "--", "sh", "-c", script]].concat();
    assert_eq!(stdout_of(&jsonl).lines().count(), COUNT);
    let record = [&wrap[..], &["--record", "/dev/stdout", "--", "sh", "-c", script]].concat();
    assert!(stdout_of(&record) == log().into_bytes());
}

#[test]
fn a_fifo_that_nobody_reads_or_writes_to_starts_no_worker() {
    for (option, cause) in [
        ("--export-jsonl", "a FIFO without a reader"),
        ("--record", "a FIFO without a reader"),
        ("--auth-token-file", "no data arrives"),
    ] {
        let words = ["-q", option, "{dir}/fifo", "--", "touch", "{dir}/started"];
        let builder = Sidecar::command(&words);
        mkfifo(&builder.path("fifo"), Mode::S_IRWXU).unwrap();
        let line = refused_without(builder.start(), "started");
        expect_words(&line, &[option, "/fifo'", cause]);
    }
}

#[test]
fn a_fifo_that_is_read_gets_everything() {
    let script = "cat {dir}/log >&2";
    let words = ["-q", "--drain-timeout", "60s", "--record", "{dir}/fifo", "--", "sh", "-c", script];
    let builder = Sidecar::command(&words);
    let fifo = builder.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    fs::write(builder.path("log"), log()).unwrap();
    let sidecar = builder.start();
    // The worker's output may follow a little after the sidecar's exit.
    assert!(fs::read(&fifo).unwrap() == log().into_bytes());
    sidecar.finish().expect_code(0);
}

/// A command that may mount file systems in its own namespace, if this is permitted.
fn unshare() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-rm"]];
    let works = |way: &&&[&str]| {
        let output =
            Command::new(way[0]).args(&way[1..]).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    ways.iter().find(works).copied()
}

#[test]
fn whole_lines_on_a_full_disk_are_delivered() {
    let Some(unshare) = unshare() else {
        println!("skipped: mounting is not permitted");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    fs::write(dir.path().join("log"), log()).unwrap();
    // More is written only when the disk is full; its content is then counted.
    let script = r#"mount -t tmpfs -o size=100k none "$1/disk" &&
        "$0" -vq --drain-timeout 60s --export-jsonl "$1/disk/lines" -- \
            sh -c 'cat "$0" >&2; cat "$0" >&2' "$1/log" &&
        grep -c '}$' "$1/disk/lines"; grep -vc '}$' "$1/disk/lines"; true"#;
    let output = Command::new(unshare[0])
        .args(&unshare[1..])
        .args(["sh", "-c", script, BINARY])
        .arg(dir.path())
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let [whole, torn]: [usize; 2] =
        stdout.lines().map(|count| count.parse().unwrap()).collect::<Vec<_>>().try_into().expect(&stderr);
    assert!((100..COUNT).contains(&whole) && torn <= 1, "{whole} whole lines, {torn} torn ones");
    let expected = format!("jsonl: {} offered = {whole} delivered ", 2 * COUNT);
    assert!(stderr.replace(',', "").contains(&expected), "{whole}: {stderr}");
}
