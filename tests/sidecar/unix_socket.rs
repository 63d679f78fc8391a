//! Unix sockets: access, and ownership of the socket file.

use crate::support::{
    Sidecar, TIMEOUT,
    http2::PREFACE,
    refusal::{expect_one_line, expect_words, refused, refused_without},
    wait_until,
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    libc,
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket},
    unistd::geteuid,
};
use std::{
    fs::{self, File, Permissions},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
};

/// A user id that is neither root nor, if tests run as root, the sidecar's user.
const STRANGER: u32 = 65_534;

/// Whether a client with this user id, or that of this process, receives the first bytes of HTTP/2.
fn is_served(path: &Path, uid: Option<u32>) -> bool {
    let path = path.to_owned();
    let client = thread::spawn(move || {
        if let Some(uid) = uid {
            // SAFETY: the system call changes only this thread, unlike the C library's function of that name.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
            assert_eq!(changed, 0);
        }
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        // The connection may be closed already.
        let _ = stream.write_all(PREFACE);
        stream.read_exact(&mut [0; 9]).is_ok()
    });
    client.join().unwrap()
}

fn serving(options: &[&str]) -> Sidecar {
    let words = [&["-vv", "--listen", "unix:{dir}/s"], options].concat();
    let sidecar = Sidecar::wrap_echo(&words);
    sidecar.ready_lines();
    // Otherwise another user could not reach the socket file.
    fs::set_permissions(sidecar.path(""), Permissions::from_mode(0o755)).unwrap();
    sidecar
}

#[test]
fn the_socket_is_created_with_the_requested_mode() {
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
fn the_umask_of_the_worker_is_unchanged() {
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
        // Another process widens the permissions.
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
fn a_file_that_replaced_the_socket_is_kept() {
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

/// A bound socket that does not listen yet.
fn bound(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

/// Between bind and listen a socket is indistinguishable from a stale one.
#[test]
fn sidecars_that_start_at_the_same_time_take_turns() {
    let words = ["-q", "--ready-file", "{dir}/ready", "--listen", "unix:{dir}/s", "--", "true"];
    let builder = Sidecar::command(&words);
    let (path, ready) = (builder.path("s"), builder.path("ready"));
    let directory = builder.path("");
    let turn = Flock::lock(File::open(&directory).unwrap(), FlockArg::LockExclusive);
    let turn = turn.map_err(|(_, error)| error).unwrap();
    let other = bound(&path);
    let mut sidecar = builder.start();
    let descriptors = format!("/proc/{}/fd", sidecar.pid());
    let has_directory = || {
        let entries = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let mut files = entries.filter_map(|entry| fs::canonicalize(entry.path()).ok());
        files.any(|file| file == directory.canonicalize().unwrap())
    };
    wait_until("it to ask for its turn", || has_directory() || ready.exists() || sidecar.has_exited());
    listen(&other, Backlog::MAXCONN).unwrap();
    drop(turn);
    sidecar.wait();
    assert!(UnixStream::connect(&path).is_ok(), "the other one's socket is gone");
    expect_words(&refused_without(sidecar, "ready"), &["--listen", "address in use"]);
}

#[test]
fn a_listener_with_a_full_backlog_counts_as_in_use() {
    let builder = Sidecar::command(&["-q", "--listen", "unix:{dir}/s", "--", "true"]);
    let path = builder.path("s");
    let slow = bound(&path);
    listen(&slow, Backlog::new(0).unwrap()).unwrap();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let mut waiting = Vec::new();
    loop {
        let client = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        match connect(client.as_raw_fd(), &UnixAddr::new(&path).unwrap()) {
            Ok(()) => waiting.push(client),
            Err(error) => break assert_eq!(error, Errno::EAGAIN),
        }
    }
    let line = expect_one_line(&builder.start().finish(), || true);
    expect_words(&line, &["--listen", "address in use"]);
}

#[test]
fn a_start_that_fails_leaves_no_socket_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for options in [["--listen", &address], ["--record", "/nonexistent/x"]] {
        let words = [&["-q", "--listen", "unix:{dir}/s"], &options[..], &["--", "true"]].concat();
        let mut sidecar = Sidecar::command(&words).start();
        sidecar.wait();
        assert!(!sidecar.path("s").exists(), "{options:?}");
        expect_one_line(&sidecar.finish(), || true);
    }
}
