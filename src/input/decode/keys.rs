//! The keys that the fast path has read, to find repeated ones.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only if everything is one function"
)]

use super::cursor::Cursor;
use crate::input::dialect::{Dialect, EventKey};

/// A map with more keys than this is left to the slow path.
const MAX_KEYS: usize = 16;

/// The keys of the event object that have been read.
#[derive(Default)]
pub(super) struct EventKeys {
    /// One bit for each.
    seen: u8,
    /// The usual position of the next key.
    next: usize,
}

impl EventKeys {
    /// Reads a key of the event object. None for an unknown or a repeated key.
    #[inline(always)]
    pub(super) fn next(&mut self, cursor: &mut Cursor<'_>, dialect: &Dialect) -> Option<EventKey> {
        let usual = dialect.usual_entry(self.next).and_then(|(key, start)| {
            cursor.short_literal(start)?;
            Some(key)
        });
        let key = match usual {
            Some(key) => key,
            None => dialect.key(cursor.key()?.text)?,
        };
        let bit = 1 << key as u8;
        let first = self.seen & bit == 0;
        self.seen |= bit;
        self.next = key as usize + 1;
        first.then_some(key)
    }
}

/// The keys of one map that have been read.
#[derive(Default)]
pub(super) struct MapKeys<'a> {
    keys: [&'a [u8]; MAX_KEYS],
    len: usize,
}

impl<'a> MapKeys<'a> {
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.keys.iter().take(self.len).any(|known| *known == key)
    }

    /// None if the key is repeated or there are too many keys.
    pub(super) fn add(&mut self, key: &'a [u8]) -> Option<()> {
        if self.contains(key) {
            return None;
        }
        *self.keys.get_mut(self.len)? = key;
        self.len += 1;
        Some(())
    }
}
