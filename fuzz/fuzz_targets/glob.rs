//! Globs match what Python's `fnmatch.fnmatchcase` matches. The input is a pattern, a NUL and a name.
//!
//! The time limit for one input finds patterns that take too long.

#![no_main]

mod fnmatch;

use libfuzzer_sys::fuzz_target;
use telemetry_sidecar::control::glob::Glob;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (pattern, name) = text.split_once('\0').unwrap_or((&text, ""));
    let glob = Glob::new(pattern);
    assert_eq!(glob.as_str(), pattern);
    assert_eq!(
        glob.matches(name),
        fnmatch::fnmatchcase(name, pattern),
        "sidecar and Python on {pattern:?} and {name:?}"
    );
});
