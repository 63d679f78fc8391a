//! The pseudo-terminal that is the worker's stderr if the sidecar's own stderr is a terminal.
//!
//! It has the size and the settings of that terminal, except that its output is not processed: the bytes stay
//! as they are, and the real terminal processes them when the sidecar writes them. It is no process's
//! controlling terminal. Job control, Ctrl-C and `/dev/tty` are those of the real terminal.
//!
//! Nothing is ever typed at it, so a program that read keys from it would wait forever. A pager such as
//! `less` opens the terminal that `ttyname(3)` names for descriptor 2, and `/dev/tty` only if there is no
//! name. So the terminal is in a file system of its own (`devpts`), which is mounted nowhere.

use super::{devpts, pipe::copy_permissions};
use crate::system::fd::window_size;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    libc::{self, winsize},
    sys::{
        stat::Mode,
        termios::{OutputFlags, SetArg, tcgetattr, tcsetattr},
    },
};
use std::{
    env, io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// What the worker's stderr is. The comments are the values' help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum StderrKind {
    /// A pseudo-terminal if the sidecar's stderr is a terminal, else a pipe
    #[default]
    Auto,
    /// A pipe
    Pipe,
    /// A pseudo-terminal
    Pty,
}

/// The size of a terminal if nothing says another one: lines and columns.
const DEFAULT_SIZE: (u16, u16) = (24, 80);

/// A pseudo-terminal.
#[derive(Debug)]
pub(crate) struct Pty {
    /// What the sidecar reads. It is non-blocking.
    pub(crate) master: OwnedFd,
    /// What the worker writes to.
    pub(crate) slave: OwnedFd,
    /// Whether a program can open it for reading by its name.
    pub(crate) is_readable: bool,
}

impl Pty {
    /// Opens a pseudo-terminal to take the place of `stderr`.
    ///
    /// # Errors
    ///
    /// If the system refuses one.
    pub(crate) fn open(stderr: impl AsFd) -> nix::Result<Self> {
        let private = devpts::private_master().and_then(|master| Self::from_master(master, &stderr));
        if let Ok((master, slave, _)) = private {
            return Ok(Self { master, slave, is_readable: false });
        }
        let public = open("/dev/ptmx", devpts::MASTER, Mode::empty())?;
        let (master, slave, number) = Self::from_master(public, &stderr)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let is_readable = open(format!("/dev/pts/{number}").as_str(), flags, Mode::empty()).is_ok();
        Ok(Self { master, slave, is_readable })
    }

    /// The master, its slave and their number.
    fn from_master(master: OwnedFd, stderr: &impl AsFd) -> nix::Result<(OwnedFd, OwnedFd, u32)> {
        let (mut number, unlock) = (0, 0);
        // SAFETY: the kernel writes one int through the first pointer and reads one from the second. The
        // third call takes flags and returns a descriptor that nothing else owns.
        let slave = unsafe {
            get_number(master.as_raw_fd(), &raw mut number)?;
            set_lock(master.as_raw_fd(), &raw const unlock)?;
            let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            OwnedFd::from_raw_fd(get_peer(master.as_raw_fd(), flags.bits())?)
        };
        let mut settings = tcgetattr(stderr).or_else(|_| tcgetattr(&slave))?;
        settings.output_flags.remove(OutputFlags::OPOST);
        tcsetattr(&slave, SetArg::TCSANOW, &settings)?;
        set_size(&master, &window_size(stderr).unwrap_or_else(default_size))?;
        copy_permissions(stderr, &slave, Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH);
        Ok((master, slave, number))
    }
}

/// Passes the size of the sidecar's terminal on to the worker's.
///
/// It keeps the worker's side open: if the last descriptor of a pseudo-terminal is closed, its reader gets an
/// error, although the worker may open it again.
#[derive(Debug)]
pub(crate) struct Window {
    slave: OwnedFd,
    seen: Option<[u16; 4]>,
}

impl Window {
    /// A window whose size was passed on when this pseudo-terminal was opened.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub(crate) fn new(pty: &Pty) -> io::Result<Self> {
        Ok(Self { slave: pty.slave.try_clone()?, seen: window_size(&pty.slave).ok().map(numbers) })
    }

    /// Passes the size on if it has changed, and returns whether it has.
    pub(crate) fn update(&mut self) -> bool {
        let mut changed = false;
        // The supervisor and the reader do this at the same time. Since each looks again after it has set a
        // size, the last one to set it sets the newest.
        while let Ok(size) = window_size(io::stderr()) {
            if self.seen == Some(numbers(size)) {
                break;
            }
            let _ = set_size(&self.slave, &size);
            self.seen = Some(numbers(size));
            changed = true;
        }
        changed
    }
}

fn numbers(size: winsize) -> [u16; 4] {
    [size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel]
}

fn set_size(terminal: impl AsFd, size: &winsize) -> nix::Result<()> {
    // SAFETY: the kernel reads a winsize through the pointer, which is valid for that.
    unsafe { set_winsize(terminal.as_fd().as_raw_fd(), &raw const *size) }.map(drop)
}

/// The size if stderr is no terminal, from the variables that programs read in this case.
fn default_size(_: Errno) -> winsize {
    let variable = |name| env::var(name).ok()?.parse().ok().filter(|count| *count > 0);
    let (lines, columns) = DEFAULT_SIZE;
    winsize {
        ws_row: variable("LINES").unwrap_or(lines),
        ws_col: variable("COLUMNS").unwrap_or(columns),
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

nix::ioctl_read_bad!(get_number, libc::TIOCGPTN, libc::c_uint);
nix::ioctl_write_ptr_bad!(set_lock, libc::TIOCSPTLCK, libc::c_int);
nix::ioctl_write_int_bad!(get_peer, libc::TIOCGPTPEER);
nix::ioctl_write_ptr_bad!(set_winsize, libc::TIOCSWINSZ, winsize);
