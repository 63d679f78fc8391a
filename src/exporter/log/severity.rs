//! Severities: OpenTelemetry's numbers for the names and numbers of logging libraries.
//!
//! The numbers are those of the libraries' own OpenTelemetry bridges and of
//! <https://opentelemetry.io/docs/specs/otel/logs/data-model/#appendix-b-severitynumber-example-mappings>.

use super::Severity;

const TRACE: u8 = 1;
const DEBUG: u8 = 5;
const INFO: u8 = 9;
const WARN: u8 = 13;
const ERROR: u8 = 17;
const FATAL: u8 = 21;

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 11;

/// The number of a name in any case, with or without a distance as in Go's `INFO+2`.
pub(super) fn number_of(name: &str) -> Option<u8> {
    let (name, distance) = match name.find(['+', '-']) {
        Some(at) => {
            let (name, distance) = name.split_at_checked(at)?;
            let number: i8 = distance.parse().ok()?;
            (name, number)
        }
        None => (name, 0),
    };
    let mut upper = [0; MAX_NAME_BYTES];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name.as_bytes());
    upper.make_ascii_uppercase();
    let number: u8 = match &*upper {
        b"TRACE" | b"TRC" | b"TRAC" | b"TRCE" | b"FINEST" | b"FINER" | b"VERBOSE" | b"SILLY" => TRACE,
        b"DEBUG"
        | b"DBG"
        | b"DEBU"
        | b"DBUG"
        | b"FINE"
        | b"CONFIG"
        | [b'D', b'E', b'B', b'U', b'G', b'1'..=b'5'] => DEBUG,
        b"INFO" | b"INF" | b"INFORMATION" | b"LOG" => INFO,
        b"NOTICE" | b"SUCCESS" => INFO + 1,
        b"WARN" | b"WARNING" | b"WRN" => WARN,
        b"ERROR" | b"ERR" | b"ERRO" | b"SEVERE" | b"FAIL" => ERROR,
        b"CRIT" => ERROR + 1,
        b"ALERT" => ERROR + 2,
        b"CRITICAL" | b"FATAL" | b"FTL" | b"FATA" | b"DPANIC" | b"EMERG" | b"EMERGENCY" => FATAL,
        b"PANIC" | b"PANI" => FATAL + 1,
        _ => return None,
    };
    if distance == 0 { Some(number) } else { Some(number.saturating_add_signed(distance).clamp(1, 24)) }
}

/// The severity with this name.
pub(super) fn named(name: &str) -> Option<Severity> {
    Some(Severity { number: number_of(name)?, text: name.to_owned() })
}

/// The severity of a priority of syslog, 0 to 7.
pub(super) fn of_priority(priority: u8, text: &str) -> Option<Severity> {
    let number =
        *[FATAL, ERROR + 2, ERROR + 1, ERROR, WARN, INFO + 1, INFO, DEBUG].get(usize::from(priority))?;
    Some(Severity { number, text: text.to_owned() })
}

/// The severity of a number of pino and bunyan: 10 (trace) to 60 (fatal), and those in between.
pub(super) fn of_pino(level: i64) -> Option<Severity> {
    let number = match level {
        1..=19 => TRACE,
        20..=29 => DEBUG,
        30..=39 => INFO,
        40..=49 => WARN,
        50..=59 => ERROR,
        60..=69 => FATAL,
        _ => return None,
    };
    Some(Severity { number, text: level.to_string() })
}

/// The severity of a number of Python's logging module: 10 (debug) to 50 (critical), and those in between.
pub(super) fn of_python(level: i64) -> Option<Severity> {
    let number = match level {
        1..=9 => TRACE,
        10..=19 => DEBUG,
        20..=29 => INFO,
        30..=39 => WARN,
        40..=49 => ERROR,
        50..=59 => FATAL,
        _ => return None,
    };
    Some(Severity { number, text: level.to_string() })
}

/// The severity of OpenTelemetry's own number.
pub(super) fn of_number(number: i64) -> Option<Severity> {
    let number = u8::try_from(number).ok().filter(|number| (1..=24).contains(number))?;
    Some(Severity { number, text: number.to_string() })
}

/// The severity of the letter with which a line of glog, klog and Abseil starts.
pub(super) fn of_letter(letter: u8) -> Option<Severity> {
    let number = match letter {
        b'I' => INFO,
        b'W' => WARN,
        b'E' => ERROR,
        b'F' => FATAL,
        _ => return None,
    };
    Some(Severity { number, text: char::from(letter).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_opentelemetrys_numbers_in_any_case() {
        for (names, number) in [
            ("trace TRACE FINER FINEST silly verbose trce", 1),
            ("debug DEBUG fine CONFIG DEBUG1 DEBUG5 DEBU", 5),
            ("info Info INFO LOG information", 9),
            ("notice SUCCESS INFO+1", 10),
            ("INFO+2", 11),
            ("warn WARNING wrn", 13),
            ("error ERRO SEVERE fail", 17),
            ("crit", 18),
            ("alert", 19),
            ("CRITICAL fatal emerg DPANIC ERROR+4", 21),
            ("PANIC", 22),
            ("FATAL+9", 24),
            ("DEBUG-4 DEBUG-9", 1),
        ] {
            for name in names.split(' ') {
                assert_eq!(number_of(name), Some(number), "{name}");
                assert_eq!(named(name).map(|severity| severity.text), Some(name.into()));
            }
        }
        for name in ["", "errors", "information2", "INFO+", "INFO+x", "INFO+999", "é", "+1", "informations"]
        {
            assert_eq!(number_of(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_of_libraries_keep_their_order() {
        let numbers = |of: fn(i64) -> Option<Severity>, levels: [i64; 8]| {
            levels.map(|level| of(level).map_or(0, |severity| severity.number))
        };
        assert_eq!(numbers(of_pino, [10, 20, 30, 35, 40, 50, 60, 70]), [1, 5, 9, 9, 13, 17, 21, 0]);
        assert_eq!(numbers(of_python, [0, 5, 10, 20, 30, 40, 50, 60]), [0, 1, 5, 9, 13, 17, 21, 0]);
        assert_eq!(numbers(of_number, [0, 1, 24, 25, -1, 9, 13, 256]), [0, 1, 24, 0, 0, 9, 13, 0]);
        let priorities = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| of_priority(n, "x").unwrap().number);
        assert_eq!(priorities, [21, 19, 18, 17, 13, 10, 9, 5]);
        assert_eq!(of_priority(8, "x"), None);
    }
}
