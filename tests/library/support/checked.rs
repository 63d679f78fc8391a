//! Checks that say what is wrong instead of panicking: property tests shrink what fails, fuzz targets panic.

use std::fmt::Debug;

/// Nothing, or what is wrong.
pub type Checked = Result<(), String>;

/// Says so if something does not hold.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Says so if something is not what it should be.
pub fn equal<T: Debug + PartialEq>(what: &str, expected: &T, got: &T) -> Checked {
    ensure(expected == got, || format!("{what}: expected {expected:?}, got {got:?}"))
}
