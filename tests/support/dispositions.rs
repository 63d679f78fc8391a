//! Signals as a terminal's shell starts a program with them.

use nix::sys::signal::{SigHandler, Signal, signal};

/// Has signals that end a program do that, here and in what is started from here. Below nohup and in a script's
/// background some of them are ignored, and neither a shell's trap nor the sidecar changes what it inherited as ignored.
pub fn reset() {
    for ending in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: the default action is no handler that could do anything unsafe.
        unsafe { signal(ending, SigHandler::SigDfl) }.unwrap();
    }
}
