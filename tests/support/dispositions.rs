//! Signal dispositions as an interactive shell sets them.

use nix::sys::signal::{SigHandler, Signal, signal};

/// Restores the default action of signals that end a program, here and in child processes. Under nohup and in
/// background jobs of scripts some of them are ignored, and neither a shell's trap nor the sidecar changes an
/// inherited "ignore".
pub fn reset() {
    for ending in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: the default action runs no handler.
        unsafe { signal(ending, SigHandler::SigDfl) }.unwrap();
    }
}
