//! The terminal: it is as it was before whenever this program does not draw, however it ends.

use crate::system::thread;
use nix::{
    errno::Errno,
    libc,
    sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask},
    unistd::Pid,
};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyEvent, KeyEventKind},
        execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        },
    },
};
use std::{
    io::{self, BufWriter, Stdout},
    mem::MaybeUninit,
    panic, ptr,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::mpsc;

/// The signals that end or stop this program, or continue it.
const SIGNALS: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGCONT];

/// A whole screen in one write.
const BUFFER_BYTES: usize = 64 * 1024;

/// Whether the terminal is in the state in which this program draws.
static IS_ENTERED: AtomicBool = AtomicBool::new(false);

/// What comes from the user or the system.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    /// The size has changed.
    Resize,
    Signal(Signal),
    /// Keys cannot be read any more.
    Failed(io::Error),
}

/// The terminal while this program draws. Dropping it restores it.
pub(super) struct Tty {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Tty {
    /// Enters the alternate screen and raw mode.
    pub(super) fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                restore();
                previous(info);
            }));
        });
        let terminal = new_terminal()?;
        let tty = Self { terminal };
        enter()?;
        Ok(tty)
    }

    /// Enters again. Nothing is known of what stands on the screen.
    fn enter_again(&mut self) -> io::Result<()> {
        enter()?;
        // Terminal::clear() would ask the terminal for the cursor, and its answer goes where keys are read.
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = new_terminal()?;
        Ok(())
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }

    /// Draws everything again, whatever others have written to the terminal or its modes.
    pub(super) fn redraw(&mut self) -> io::Result<()> {
        restore();
        self.enter_again()
    }

    /// Stops this process, or its whole job as the terminal does it, until it is continued.
    pub(super) fn suspend(&mut self, whole_job: bool) -> io::Result<()> {
        restore();
        let stop = SigSet::from(Signal::SIGTSTP);
        kill(if whole_job { Pid::from_raw(0) } else { Pid::this() }, Signal::SIGTSTP)?;
        // It is blocked everywhere, and stops the process when it is let through here.
        pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&stop), None)?;
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&stop), None)?;
        self.enter_again()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        restore();
    }
}

fn new_terminal() -> io::Result<Terminal<CrosstermBackend<BufWriter<Stdout>>>> {
    Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())))
}

fn enter() -> io::Result<()> {
    IS_ENTERED.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen)
}

/// Restores the terminal, if it is not as it was. If this fails there is no terminal any more.
fn restore() {
    if IS_ENTERED.swap(false, Ordering::Relaxed) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Receives keys and signals from now on. It is called before other threads are started, which inherit that
/// these signals are blocked.
pub(super) fn inputs() -> io::Result<mpsc::Receiver<Input>> {
    let (sender, inputs) = mpsc::channel(64);
    let signals: SigSet = SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)).collect();
    signals.thread_block()?;
    let of_signals = sender.clone();
    thread::spawn("signals", move || {
        loop {
            match signals.wait() {
                Ok(signal) if of_signals.blocking_send(Input::Signal(signal)).is_ok() => {}
                Err(Errno::EINTR) => {}
                _ => break,
            }
        }
    })?;
    thread::spawn("keys", move || {
        loop {
            let input = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Input::Key(key),
                Ok(Event::Resize(..)) => Input::Resize,
                Ok(_) => continue,
                Err(error) => {
                    let _ = sender.blocking_send(Input::Failed(error));
                    break;
                }
            };
            if sender.blocking_send(input).is_err() {
                break;
            }
        }
    })?;
    Ok(inputs)
}

/// Whether this program was started with a signal ignored, as `nohup` does it.
fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the call changes nothing and writes an action through the pointer, which is valid for that. A
    // zeroed action is one, too.
    unsafe {
        libc::sigaction(signal as libc::c_int, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{pty::openpty, sys::termios::tcgetattr};
    use std::{
        env,
        fs::File,
        io::Read as _,
        process::{Command, Stdio},
    };

    /// Set for the process that panics.
    const VARIABLE: &str = "TOP_TEST_PANICS";

    #[test]
    fn a_panic_restores_the_terminal_before_its_message() {
        if env::var_os(VARIABLE).is_some() {
            let _tty = Tty::enter().unwrap();
            panic!("the message");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let test = "fleet::top::tty::tests::a_panic_restores_the_terminal_before_its_message";
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture"]).env(VARIABLE, "1");
        let mut child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        drop(command);
        let mut master = File::from(pty.master);
        let mut shown = Vec::new();
        // Read up to the end of the message: the terminal stays open here, so there is no end of file.
        while !String::from_utf8_lossy(&shown).contains("test result: FAILED") {
            let mut part = [0; 4096];
            let length = master.read(&mut part).unwrap();
            shown.extend_from_slice(&part[..length]);
        }
        assert!(!child.wait().unwrap().success());
        let shown = String::from_utf8_lossy(&shown);
        let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text:?} is not in {shown:?}"));
        assert!(
            at("\u{1b}[?1049h") < at("\u{1b}[?1049l") && at("\u{1b}[?1049l") < at("the message"),
            "{shown:?}"
        );
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
    }
}
