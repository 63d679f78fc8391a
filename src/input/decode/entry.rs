//! Reading a value and writing its entry, for both paths that read common lines quickly.
//!
//! What is usual is done in place, so that positions stay in registers; anything else is handed over whole.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only where all of it is one function"
)]

use super::{
    cursor::Cursor,
    head::Head,
    wire::{Measurement, Writer},
};

/// A scalar of `measurements`.
#[inline(always)]
pub(super) fn measurement(cursor: &mut Cursor<'_>, out: &mut Writer<'_>, head: &impl Head) -> Option<()> {
    let mut behind = *cursor;
    match behind.number() {
        Some(Measurement::Int(int)) => out.int_entry(head, int)?,
        Some(Measurement::Float(float)) => out.float_entry(head, float)?,
        _ => {
            return apart(cursor, out, |cursor, out| match cursor.measurement()? {
                Measurement::Int(int) => out.int_entry(head, int),
                Measurement::Float(float) => out.float_entry(head, float),
                other => out.entry_of(head, |out| out.telemetry_value(other)),
            });
        }
    }
    *cursor = behind;
    Some(())
}

/// A string of `metadata`, from behind its opening quote.
#[inline(always)]
pub(super) fn rest_of_metadata(
    cursor: &mut Cursor<'_>,
    out: &mut Writer<'_>,
    head: &impl Head,
) -> Option<()> {
    if let Some(text) = cursor.rest_of_short_string() {
        return out.short_text_entry(head, text);
    }
    apart(cursor, out, |cursor, out| out.entry_of(head, |out| cursor.copy_rest_of_string(out)))
}

/// The rest of a correlation id.
#[inline(always)]
pub(super) fn rest_of_id<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    if let Some(id) = cursor.rest_of_ascii_string() {
        return Some(id);
    }
    let mut id = &[][..];
    apart(cursor, &mut Writer::default(), |cursor, _| {
        id = cursor.rest_of_string()?;
        Some(())
    })?;
    Some(id)
}

/// Reads and writes in a function of its own, with copies of the positions: a position that others may change cannot stay
/// in a register.
#[inline(always)]
pub(super) fn apart<'a, 'b>(
    cursor: &mut Cursor<'a>,
    out: &mut Writer<'b>,
    step: impl FnOnce(&mut Cursor<'a>, &mut Writer<'b>) -> Option<()>,
) -> Option<()> {
    let (behind, written) = copies(*cursor, std::mem::take(out), step)?;
    (*cursor, *out) = (behind, written);
    Some(())
}

#[inline(never)]
fn copies<'a, 'b>(
    mut cursor: Cursor<'a>,
    mut out: Writer<'b>,
    step: impl FnOnce(&mut Cursor<'a>, &mut Writer<'b>) -> Option<()>,
) -> Option<(Cursor<'a>, Writer<'b>)> {
    step(&mut cursor, &mut out)?;
    Some((cursor, out))
}
