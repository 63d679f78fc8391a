//! Unix sockets: who may connect, and whose file is whose.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use nix::{libc, unistd::geteuid};
use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
};
use support::{
    PATIENCE, Sidecar,
    http2::PREFACE,
    refusal::{expect_one_line, expect_words, refused},
};

/// Somebody who is neither root nor, when tests run as root, the sidecar's user.
const STRANGER: u32 = 65_534;

/// Whether a client of this user, or of this process's, gets HTTP/2's first bytes.
fn is_served(path: &Path, uid: Option<u32>) -> bool {
    let path = path.to_owned();
    let client = thread::spawn(move || {
        if let Some(uid) = uid {
            // SAFETY: the system call, unlike the C library's function of that name, changes this thread alone.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
            assert_eq!(changed, 0);
        }
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed already.
        let _ = stream.write_all(PREFACE);
        stream.read_exact(&mut [0; 9]).is_ok()
    });
    client.join().unwrap()
}

fn serving(options: &[&str]) -> Sidecar {
    let words = [&["-vv", "--listen", "unix:{dir}/s"], options].concat();
    let sidecar = Sidecar::wrap_echo(&words);
    sidecar.ready_lines();
    // Otherwise a stranger would not get as far as the socket.
    fs::set_permissions(sidecar.path(""), Permissions::from_mode(0o755)).unwrap();
    sidecar
}

#[test]
fn the_mode_is_what_was_asked_for_from_the_first_moment() {
    for (mode, expected) in [("0600", "600\n"), ("660", "660\n"), ("0777", "777\n"), ("0", "0\n")] {
        let words = ["-q", "--listen", "unix:{dir}/s", "--listen-mode", mode];
        let words = [&words[..], &["--", "stat", "-c", "%a", "{dir}/s"]].concat();
        assert_eq!(Sidecar::command(&words).start().finish().expect_code(0).stdout(), expected);
    }
    for wrong in ["rw", "0o600", "688", "1777", "-1", ""] {
        let option = format!("--listen-mode={wrong}");
        expect_words(&refused(&[&option]), &["--listen-mode", "octal", "0600"]);
    }
}

#[test]
fn the_workers_umask_is_not_touched() {
    let words =
        ["-q", "--listen", "unix:{dir}/s", "--listen-mode", "0666", "--", "sh", "-c", "umask 1>&2; umask"];
    let outside = std::process::Command::new("sh").args(["-c", "umask"]).output().unwrap().stdout;
    assert_eq!(Sidecar::command(&words).start().finish().expect_code(0).stdout.clone(), outside);
}

#[test]
fn only_the_same_user_and_root_are_served_unless_others_may_write() {
    let sidecar = serving(&[]);
    let path = sidecar.path("s");
    assert!(is_served(&path, None));
    if geteuid().is_root() {
        // Somebody has widened it meanwhile.
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(!is_served(&path, Some(STRANGER)));
        sidecar.wait_for_stderr("user 65534 is not this one (see --listen-mode)");
        assert!(is_served(&path, None));
    }
    sidecar.finish().expect_code(0);

    let sidecar = serving(&["--listen-mode", "0666"]);
    assert!(is_served(&sidecar.path("s"), None));
    if geteuid().is_root() {
        assert!(is_served(&sidecar.path("s"), Some(STRANGER)));
    }
    sidecar.finish().expect_code(0);
}

#[test]
fn a_symlink_is_neither_followed_nor_removed() {
    for target in ["stale", "live", "nothing"] {
        let builder = Sidecar::command(&["-q", "--listen", "unix:{dir}/s", "--", "true"]);
        let (path, target_path) = (builder.path("s"), builder.path(target));
        let live = match target {
            "nothing" => None,
            _ => Some(UnixListener::bind(&target_path).unwrap()).filter(|_| target == "live"),
        };
        symlink(&target_path, &path).unwrap();
        let mut sidecar = builder.start();
        sidecar.wait();
        assert!(path.is_symlink(), "the link to {target} is gone");
        assert_eq!(target_path.exists(), target != "nothing", "{target}");
        let line = expect_one_line(&sidecar.finish(), || true);
        expect_words(&line, &["--listen", path.to_str().unwrap(), "not a socket"]);
        drop(live);
    }
}

#[test]
fn what_has_taken_the_sockets_place_stays() {
    for is_socket in [true, false] {
        let sidecar = serving(&[]);
        let path = sidecar.path("s");
        fs::remove_file(&path).unwrap();
        let another = is_socket.then(|| UnixListener::bind(&path).unwrap());
        if !is_socket {
            fs::write(&path, "precious").unwrap();
        }
        sidecar.finish_keeping(&path).expect_code(0);
        drop(another);
    }
}
