//! Checks that return errors instead of panicking: property tests shrink a failure, fuzz targets panic.

use std::fmt::Debug;

/// Nothing, or a description of the failure.
pub type Checked = Result<(), String>;

/// Fails unless the condition holds.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Fails unless both values are equal.
pub fn equal<T: Debug + PartialEq>(what: &str, expected: &T, got: &T) -> Checked {
    ensure(expected == got, || format!("{what}: expected {expected:?}, got {got:?}"))
}
