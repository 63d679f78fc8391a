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
    os::linux::net::SocketAddrExt as _,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::{SocketAddr, UnixListener, UnixStream},
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// A user id that is neither root nor, if tests run as root, the sidecar's user.
const STRANGER: u32 = 65_534;

/// Whether a client with this user id, or that of this process, receives the first bytes of HTTP/2.
fn is_served(path: &Path, uid: Option<u32>) -> bool {
    is_served_at(&SocketAddr::from_pathname(path).unwrap(), uid)
}

fn is_served_at(address: &SocketAddr, uid: Option<u32>) -> bool {
    let address = address.clone();
    let client = thread::spawn(move || {
        if let Some(uid) = uid {
            // SAFETY: the system call changes only this thread, unlike the C library's function of that name.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
            assert_eq!(changed, 0);
        }
        let mut stream = UnixStream::connect_addr(&address).unwrap();
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

#[test]
fn of_sidecars_that_start_at_the_same_time_one_serves() {
    for has_stale in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        if has_stale {
            drop(UnixListener::bind(&path).unwrap());
        }
        let address = format!("unix:{}", path.display());
        let words = ["-q", "--ready-file", "{dir}/ready", "--listen", &address, "--", "cat"];
        let mut sidecars: Vec<_> = (0..8).map(|_| Sidecar::command(&words).start()).collect();
        let is_serving = |sidecar: &Sidecar| sidecar.path("ready").exists();
        let started = |sidecars: &mut [Sidecar]| {
            sidecars.iter_mut().all(|sidecar| sidecar.has_exited() || is_serving(sidecar))
        };
        wait_until("all to start or exit", || started(&mut sidecars));
        let (serving, others): (Vec<_>, Vec<_>) = sidecars.into_iter().partition(is_serving);
        assert_eq!(serving.len(), 1, "with a stale socket: {has_stale}");
        for other in others {
            expect_words(&refused_without(other, "ready"), &["--listen", "address in use"]);
        }
        assert!(is_served(&path, None), "the socket was replaced");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        for sidecar in serving {
            sidecar.finish().expect_code(0);
        }
    }
}

#[test]
fn a_lock_on_the_directory_does_not_delay_the_start() {
    let builder = Sidecar::command(&["-q", "--listen", "unix:{dir}/s", "--", "true"]);
    let lock = Flock::lock(File::open(builder.path("")).unwrap(), FlockArg::LockExclusive);
    let lock = lock.map_err(|(_, error)| error).unwrap();
    let start = Instant::now();
    builder.start().finish().expect_code(0);
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(lock);
}

#[test]
fn an_abstract_socket_is_served_to_the_same_user_and_makes_no_file() {
    let name = format!("telemetry-sidecar-test-{}", std::process::id());
    let address = format!("unix:@{name}");
    let sidecar = Sidecar::wrap_echo(&["-vv", "--listen", &address]);
    assert_eq!(sidecar.ready_lines(), [&*address]);
    assert!(!Path::new(&format!("@{name}")).exists());

    let other = Sidecar::command(&["-q", "--listen", &address, "--", "true"]).start().finish();
    expect_words(&expect_one_line(&other, || true), &["--listen", &address, "address in use"]);

    let tail = Sidecar::command(&["tail", &address]).start();
    let mut sidecar = sidecar;
    sidecar.write("TELEMETRY:{\"event\": \"a\", \"timestamp_ns\": 7}\n");
    let expected = "{\"event\": \"a\", \"measurements\": {}, \"metadata\": {}, \"timestamp_ns\": 7, \
                    \"correlation_id\": \"\"}\n";
    assert_eq!(tail.wait_for_stdout(expected.len()), expected);
    if geteuid().is_root() {
        assert!(!is_served_at(&SocketAddr::from_abstract_name(&name).unwrap(), Some(STRANGER)));
        sidecar.wait_for_stderr("user 65534 is not this one (see --listen-mode)");
    }
    sidecar.finish().expect_code(0);
    tail.finish().expect_code(0);
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
