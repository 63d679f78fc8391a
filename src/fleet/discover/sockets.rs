//! The listening sockets of this network namespace, from `/proc/net`.

use crate::net::address::{Address, HostPort};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The state of a TCP socket that listens.
const LISTEN: &str = "0A";
/// The state of connections that are not accepted yet. Older kernels list them with the listener.
const SYN_RECEIVED: &str = "03";
/// The flag of a unix socket that listens (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 0x1_0000;

/// Listening sockets by their inode.
#[derive(Debug, Default)]
pub(super) struct Sockets(HashMap<u64, Address>);

impl Sockets {
    /// Reads the tables, for these inodes. What cannot be read has no sockets.
    pub(super) fn listening(wanted: &HashSet<u64>) -> Self {
        let mut found = HashMap::new();
        for table in ["tcp", "tcp6"] {
            lines(table, |line| {
                let Some(socket) = Tcp::parse(line) else { return true };
                match socket.state {
                    LISTEN if wanted.contains(&socket.inode) => {
                        found.insert(socket.inode, socket.address());
                        true
                    }
                    // Listening sockets come first; there may be many connections after them.
                    state => matches!(state, LISTEN | SYN_RECEIVED),
                }
            });
        }
        lines("unix", |line| {
            if let Some((inode, path)) = unix(line)
                && wanted.contains(&inode)
            {
                found.insert(inode, Address::Unix(path));
            }
            true
        });
        Self(found)
    }

    /// Where to connect to a socket, if it listens. A relative path is one below the process's directory.
    pub(super) fn address(&self, inode: u64, cwd: impl FnOnce() -> Option<PathBuf>) -> Option<Address> {
        match self.0.get(&inode)? {
            Address::Unix(path) if !is_complete(path) => Some(Address::Unix(cwd()?.join(path))),
            address => Some(address.clone()),
        }
    }
}

fn is_complete(path: &Path) -> bool {
    path.is_absolute() || path.as_os_str().as_bytes().starts_with(b"@")
}

/// Reads the lines of a table, without its title, as long as `each` wants more.
fn lines(table: &str, mut each: impl FnMut(&[u8]) -> bool) {
    let Ok(file) = File::open(Path::new("/proc/self/net").join(table)) else { return };
    let lines = BufReader::with_capacity(64 * 1024, file).split(b'\n');
    for line in lines.skip(1).map_while(Result::ok) {
        if !each(&line) {
            return;
        }
    }
}

/// A line of `/proc/net/tcp` or `tcp6`.
struct Tcp<'a> {
    ip: IpAddr,
    port: u16,
    state: &'a str,
    inode: u64,
}

impl<'a> Tcp<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = str::from_utf8(line).ok()?.split_ascii_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self { ip: address(ip)?, port: u16::from_str_radix(port, 16).ok()?, state, inode })
    }

    /// Where a client of this host connects.
    fn address(&self) -> Address {
        let host = match self.ip.to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Address::Tcp(HostPort { host: host.to_string(), port: self.port })
    }
}

/// An address of 4 or 16 bytes, written as numbers of 32 bits as the host has them in memory.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(8 * at..8 * (at + 1))?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => word(0).map(IpAddr::from),
        32 => {
            let bytes: Vec<u8> = (0..4).filter_map(word).flatten().collect();
            <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
        }
        _ => None,
    }
}

/// Inode and path of a listening socket in a line of `/proc/net/unix`. The path of an abstract one starts
/// with an @ for its NUL.
fn unix(line: &[u8]) -> Option<(u64, PathBuf)> {
    // Num RefCount Protocol Flags Type St Inode Path; the columns have a width, and a path may have spaces.
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (field, after) = rest.split_at_checked(end)?;
        rest = after;
        str::from_utf8(field).ok()
    };
    let flags = (0..4).filter_map(|_| field()).last()?;
    let inode = (0..3).filter_map(|_| field()).last()?.parse().ok()?;
    if u32::from_str_radix(flags, 16).ok()? & ACCEPTS == 0 {
        return None;
    }
    let path = rest.strip_prefix(b" ")?;
    (!path.is_empty()).then(|| (inode, PathBuf::from(OsStr::from_bytes(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (String, String, u64) {
        let socket = Tcp::parse(line.as_bytes()).unwrap();
        (socket.address().to_string(), socket.state.into(), socket.inode)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_tcp_sockets_are_parsed() {
        let rest =
            "00000000:00000000 00:00000000 00000000  1000        0 22513 1 0000000000000000 100 0 0 10 0";
        let line = |local: &str, remote: &str, state: &str| format!("   0: {local} {remote} {state} {rest}");
        let v4 = line("0100007F:1130", "00000000:0000", "0A");
        assert_eq!(parsed(&v4), ("127.0.0.1:4400".into(), "0A".into(), 22513));
        let any = line("00000000:0050", "00000000:0000", "0A");
        assert_eq!(parsed(&any).0, "127.0.0.1:80");
        let none = "00000000000000000000000000000000:0000";
        let any = line("00000000000000000000000000000000:FFFF", none, "0A");
        assert_eq!(parsed(&any).0, "[::1]:65535");
        let v6 = line("B80D0120000000000000000001000000:1130", none, "01");
        assert_eq!(parsed(&v6), ("[2001:db8::1]:4400".into(), "01".into(), 22513));
        let mapped = line("0000000000000000FFFF00000100007F:1130", none, "0A");
        assert_eq!(parsed(&mapped).0, "127.0.0.1:4400");
        for broken in ["", "  sl  local_address", "0: 0100007F 0 0A 1 2 3 4 5 6 7", "0: X:1 0 0A 1 2 3 4 5 6"]
        {
            assert!(Tcp::parse(broken.as_bytes()).is_none(), "{broken}");
        }
    }

    #[test]
    fn lines_of_unix_sockets_are_parsed() {
        let parse = |line: &str| unix(line.as_bytes());
        let line = |flags: &str, path: &str| {
            format!("0000000000000000: 00000002 00000000 {flags} 0001 01 22514{path}")
        };
        assert_eq!(parse(&line("00010000", " /run/a b.sock")), Some((22514, "/run/a b.sock".into())));
        assert_eq!(parse(&line("00010000", "  space")), Some((22514, " space".into())));
        assert_eq!(parse(&line("00010000", " @worker")), Some((22514, "@worker".into())));
        for other in [
            line("00000000", " /run/a"),
            line("00010000", ""),
            line("00010000", " "),
            "Num       RefCount Protocol Flags    Type St Inode Path".into(),
            String::new(),
        ] {
            assert_eq!(parse(&other), None, "{other}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_directory_of_the_process() {
        let unix = |path: &str| Address::Unix(path.into());
        let all = [(1, unix("run/a")), (2, unix("/run/a")), (3, unix("@a"))];
        let sockets = Sockets(HashMap::from(all));
        let address = |inode| sockets.address(inode, || Some("/work".into()));
        assert_eq!(address(1), Some(unix("/work/run/a")));
        assert_eq!(address(2), Some(unix("/run/a")));
        assert_eq!(address(3), Some(unix("@a")));
        assert_eq!(address(4), None);
        assert_eq!(sockets.address(1, || None), None);
    }
}
