//! `--ready-file`: what is replaced, what is written into, and what is refused.

use crate::support::{
    BINARY, Sidecar, line,
    refusal::{expect_one_line, expect_words, refused_without},
    run,
};
use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::mkfifo,
};
use std::{
    fs,
    io::Read as _,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _, symlink},
        net::{UnixDatagram, UnixListener},
    },
    path::Path,
    process::Command,
    thread,
};

const WRAP: [&str; 4] = ["-q", "--ready-file", "{dir}/ready", "--"];

fn is_port(line: &str) -> bool {
    line.trim_end().parse::<u16>().is_ok()
}

#[test]
fn an_empty_file_and_an_old_ready_file_are_replaced() {
    for old in ["", "50051\n", "50051\nunix:/run/w.sock\nprometheus 9464\n"] {
        let builder = Sidecar::command(&[&WRAP[..], &["cat", "{dir}/ready"]].concat());
        fs::write(builder.path("ready"), old).unwrap();
        let finished = builder.start().finish();
        assert!(is_port(&finished.expect_code(0).stdout()), "{}", finished.describe());
    }
}

#[test]
fn any_other_file_is_kept_and_ends_the_start() {
    let event = line("a", 1, "");
    for content in ["text\n", "50051", "50051\ntext\n", &event] {
        let builder = Sidecar::command(&[&WRAP[..], &["touch", "{dir}/started"]].concat());
        fs::write(builder.path("ready"), content).unwrap();
        let mut sidecar = builder.start();
        sidecar.wait();
        assert_eq!(fs::read_to_string(sidecar.path("ready")).unwrap(), content);
        let line = refused_without(sidecar, "started");
        expect_words(&line, &["--ready-file: '", "not a ready file", "name another path"]);
    }
    // A directory, and a link to nothing.
    let builder = Sidecar::command(&["--ready-file", "{dir}", "--", "true"]);
    expect_words(&expect_one_line(&builder.start().finish(), || true), &["--ready-file", "directory"]);
    let builder = Sidecar::command(&[&WRAP[..], &["touch", "{dir}/started"]].concat());
    symlink(builder.path("nothing"), builder.path("ready")).unwrap();
    let line = refused_without(builder.start(), "started");
    expect_words(&line, &["--ready-file", "symbolic link to a file that does not exist"]);
}

/// A recording is not a ready file, whatever is in it.
#[test]
fn the_file_of_another_option_is_not_replaced() {
    let log = line("a", 1, "") + "text\n";
    let builder = Sidecar::command(&["replay", "--ready-file", "{dir}/log", "{dir}/log"]);
    fs::write(builder.path("log"), &log).unwrap();
    let mut sidecar = builder.start();
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("log")).unwrap(), log);
    expect_words(&expect_one_line(&sidecar.finish(), || true), &["--ready-file", "not a ready file"]);

    for option in ["--record", "--export-jsonl"] {
        let words = [option, "{dir}/ready", "--ready-file", "{dir}/ready", "--", "touch", "{dir}/started"];
        let line = refused_without(Sidecar::command(&words).start(), "started");
        expect_words(&line, &["--ready-file: '", "another file was made there"]);
    }
}

#[test]
fn what_a_link_leads_to_is_replaced_and_the_link_stays() {
    let script = "test -L \"$0/ready\" && cat \"$0/target\"";
    let builder = Sidecar::command(&[&WRAP[..], &["sh", "-c", script, "{dir}"]].concat());
    fs::write(builder.path("target"), "50051\n").unwrap();
    symlink("target", builder.path("ready")).unwrap();
    let finished = builder.start().finish();
    assert!(is_port(&finished.expect_code(0).stdout()), "{}", finished.describe());
}

#[test]
fn a_fifo_and_a_socket_are_written_into() {
    let builder = Sidecar::command(&[&WRAP[..], &["sh", "-c", "test -p \"$0/ready\"", "{dir}"]].concat());
    let path = builder.path("ready");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let reading = thread::spawn(move || fs::read_to_string(path).unwrap());
    builder.start().finish().expect_code(0);
    assert!(is_port(&reading.join().unwrap()));

    let builder = Sidecar::command(&[&WRAP[..], &["test", "-S", "{dir}/ready"]].concat());
    let stream = UnixListener::bind(builder.path("ready")).unwrap();
    builder.start().finish().expect_code(0);
    let mut text = String::new();
    stream.accept().unwrap().0.read_to_string(&mut text).unwrap();
    assert!(is_port(&text), "{text:?}");

    let builder = Sidecar::command(&[&WRAP[..], &["test", "-S", "{dir}/ready"]].concat());
    let datagrams = UnixDatagram::bind(builder.path("ready")).unwrap();
    builder.start().finish().expect_code(0);
    let mut buffer = [0; 100];
    let length = datagrams.recv(&mut buffer).unwrap();
    assert!(is_port(std::str::from_utf8(&buffer[..length]).unwrap()));
}

#[test]
fn a_device_is_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let mut path = Path::new("/dev/null").to_owned();
    // Root could replace the real one.
    if nix::unistd::geteuid().is_root() {
        path = dir.path().join("null");
        if let Err(error) = mknod(&path, SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 3)) {
            return eprintln!("skipped: cannot make a device node: {error}");
        }
    }
    run(&["-q", "--ready-file", path.to_str().unwrap(), "--", "true"]).expect_code(0);
    assert!(fs::metadata(&path).unwrap().file_type().is_char_device());
}

/// Also if a regular file is behind it, at its position.
#[test]
fn an_inherited_descriptor_is_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "exec 3>\"$0/out\"; printf 'before\\n' >&3; \
         '{BINARY}' -q --ready-file /dev/fd/3 -- sh -c 'echo worker >&3'; echo after >&3"
    );
    let status = Command::new("sh").args(["-c", &script]).arg(dir.path()).status().unwrap();
    assert!(status.success());
    let text = fs::read_to_string(dir.path().join("out")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(matches!(lines[..], ["before", port, "worker", "after"] if is_port(port)), "{text:?}");

    let finished = run(&["-q", "--ready-file", "/dev/stdout", "--", "true"]);
    assert!(is_port(&finished.expect_code(0).stdout()), "{}", finished.describe());
    let line = expect_one_line(&run(&["--ready-file", "/dev/fd/99", "--", "true"]), || true);
    expect_words(&line, &["--ready-file: '/dev/fd/99'", "Bad file descriptor"]);
}

/// The umask decides who may read it, as for any other file.
#[test]
fn a_new_file_has_the_usual_mode_and_no_temporary_file_stays() {
    let script = format!("umask 027; exec '{BINARY}' -q --ready-file \"$0/ready\" -- true");
    let dir = tempfile::tempdir().unwrap();
    assert!(Command::new("sh").args(["-c", &script]).arg(dir.path()).status().unwrap().success());
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["ready"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("ready")), 0o640);
}

#[test]
fn addresses_of_exporters_come_after_the_listeners() {
    let words = ["--export-prometheus", "127.0.0.1:0"];
    let finished = Sidecar::command(&[&words, &WRAP[..], &["cat", "{dir}/ready"]].concat()).start().finish();
    let text = finished.expect_code(0).stdout();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        matches!(lines[..], [port, metrics] if is_port(port)
        && metrics.strip_prefix("prometheus ").is_some_and(is_port)),
        "{text:?}"
    );
}
