//! Reads a value and writes its map entry, for the shape path and the fast path.
//!
//! The usual values are handled inline, so that positions stay in registers. The others are handled out of
//! line.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only if everything is one function"
)]

use super::{
    cursor::Cursor,
    prefix::EntryPrefix,
    wire::{Measurement, Writer},
};

/// Reads a scalar and writes it as an entry of `measurements`.
#[inline(always)]
pub(super) fn measurement(
    cursor: &mut Cursor<'_>,
    out: &mut Writer<'_>,
    prefix: &impl EntryPrefix,
) -> Option<()> {
    let mut after = *cursor;
    match after.number() {
        Some(Measurement::Int(int)) => out.int_entry(prefix, int)?,
        Some(Measurement::Float(float)) => out.float_entry(prefix, float)?,
        _ => {
            return out_of_line(cursor, out, |cursor, out| match cursor.measurement()? {
                Measurement::Int(int) => out.int_entry(prefix, int),
                Measurement::Float(float) => out.float_entry(prefix, float),
                other => out.entry_of(prefix, |out| out.telemetry_value(other)),
            });
        }
    }
    *cursor = after;
    Some(())
}

/// Reads a string from after its opening quote and writes it as an entry of `metadata`.
#[inline(always)]
pub(super) fn rest_of_metadata(
    cursor: &mut Cursor<'_>,
    out: &mut Writer<'_>,
    prefix: &impl EntryPrefix,
) -> Option<()> {
    if let Some(text) = cursor.rest_of_short_string() {
        return out.short_text_entry(prefix, text);
    }
    out_of_line(cursor, out, |cursor, out| out.entry_of(prefix, |out| cursor.copy_rest_of_string(out)))
}

/// Reads a name or a correlation id from after its opening quote.
#[inline(always)]
pub(super) fn rest_of_id<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    if let Some(id) = cursor.rest_of_ascii_string() {
        return Some(id);
    }
    let mut id = &[][..];
    out_of_line(cursor, &mut Writer::default(), |cursor, _| {
        id = cursor.rest_of_string()?;
        Some(())
    })?;
    Some(id)
}

/// Runs a step in a separate function that gets copies of the positions. With references to them the
/// positions could not stay in registers.
#[inline(always)]
pub(super) fn out_of_line<'a, 'b>(
    cursor: &mut Cursor<'a>,
    out: &mut Writer<'b>,
    step: impl FnOnce(&mut Cursor<'a>, &mut Writer<'b>) -> Option<()>,
) -> Option<()> {
    (*cursor, *out) = with_copies(*cursor, std::mem::take(out), step)?;
    Some(())
}

#[inline(never)]
fn with_copies<'a, 'b>(
    mut cursor: Cursor<'a>,
    mut out: Writer<'b>,
    step: impl FnOnce(&mut Cursor<'a>, &mut Writer<'b>) -> Option<()>,
) -> Option<(Cursor<'a>, Writer<'b>)> {
    step(&mut cursor, &mut out)?;
    Some((cursor, out))
}
