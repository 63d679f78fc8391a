//! How a worker has ended, as a subscription's trailer says it.

use crate::{
    event::ended::{is_failed_code, is_failed_signal},
    worker::exit::signal_name,
};

/// The trailer of a worker without a failure.
pub(super) const EXITED_WITH_0: &str = "exit 0";

/// The words for it: `exited with 3`, `killed by SIGKILL (out of memory)`. Anything else stays as it is.
pub(super) fn how_ended(trailer: &str) -> String {
    let (kind, rest) = trailer.split_once(' ').unwrap_or((trailer, ""));
    let (number, note) = rest.split_once(' ').unwrap_or((rest, ""));
    let how = match (kind, number.parse()) {
        ("exit", Ok(code)) => format!("exited with {code}"),
        ("signal", Ok(signal)) => format!("killed by {}", signal_name(signal)),
        _ => return trailer.to_owned(),
    };
    if note.is_empty() { how } else { format!("{how} {note}") }
}

/// Whether it says that the worker has failed.
pub(super) fn has_failed(trailer: &str) -> bool {
    let mut words = trailer.split(' ');
    match (words.next(), words.next().and_then(|number| number.parse().ok())) {
        (Some("exit"), Some(code)) => is_failed_code(code),
        (Some("signal"), Some(signal)) => is_failed_signal(signal),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_put_into_words() {
        for (trailer, words) in [
            (EXITED_WITH_0, "exited with 0"),
            ("exit 137 (out of memory)", "exited with 137 (out of memory)"),
            ("signal 9", "killed by SIGKILL"),
            ("signal 9 (maybe out of memory)", "killed by SIGKILL (maybe out of memory)"),
            ("signal 40", "killed by signal 40"),
            ("ended", "ended"),
            ("exit soon", "exit soon"),
            ("", ""),
        ] {
            assert_eq!(how_ended(trailer), words);
        }
    }

    #[test]
    fn a_stop_is_no_failure() {
        for trailer in ["exit 3", "exit 137 (out of memory)", "signal 9"] {
            assert!(has_failed(trailer), "{trailer}");
        }
        for trailer in [EXITED_WITH_0, "exit 143", "signal 15", "ended", "exit soon", ""] {
            assert!(!has_failed(trailer), "{trailer}");
        }
    }
}
