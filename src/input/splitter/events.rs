//! The events of a line whose end is known.

use super::{Embedded, Handler, Marker, Splitter};
use crate::input::escape_sequence::{self, ESCAPE, Start};
use memchr::memchr;

impl Splitter {
    /// The line from the prefix at `start` to `line_end`. One event or several in a row are removed, whatever
    /// the mode; what follows them is searched as in mid-line.
    pub(super) fn telemetry_line(
        &mut self,
        buffer: &[u8],
        start: usize,
        line_end: usize,
        handler: &mut impl Handler,
    ) {
        let prefix_len = self.dialect.prefix.len();
        let json = |at: usize| &buffer[at + prefix_len..line_end];
        let (mut at, mut tries) = (start, self.dialect.max_candidates);
        let mut event = if line_end - start > self.max_line_bytes {
            handler.oversized_line();
            None
        } else {
            handler.telemetry_line(json(start))
        };
        while let Some(length) = event {
            let event_end = at + prefix_len + length;
            if event_end == line_end {
                // As nearly always.
                return self.remove(at, line_end, handler);
            }
            let next = self.behind_event(buffer, event_end, line_end);
            self.take_out(buffer, at, event_end, next, handler);
            if next == line_end || tries == 0 {
                return;
            }
            (at, tries) = (next, tries - 1);
            event = handler.embedded(json(at));
        }
        self.try_markers(buffer, at + 1, line_end, tries, handler);
    }

    /// Tries the markers between `from` and the end of the line from left to right.
    pub(super) fn try_markers(
        &mut self,
        buffer: &[u8],
        from: usize,
        line_end: usize,
        mut tries: usize,
        handler: &mut impl Handler,
    ) {
        let (line, mut from) = (&buffer[..line_end], from);
        while tries > 0
            && let Some((at, Marker::Whole(_))) = self.next_marker(line, from)
        {
            self.line.look_at(buffer, at);
            self.line.decide();
            from = at + 1;
            if line_end - at > self.max_line_bytes {
                handler.oversized_embedded();
                continue;
            }
            tries -= 1;
            let json_start = at + self.dialect.prefix.len();
            if let Some(length) = handler.embedded(&line[json_start..]) {
                from = self.behind_event(buffer, json_start + length, line_end);
                if self.line.is_stripped() {
                    self.take_out(buffer, at, json_start + length, from, handler);
                }
            }
        }
    }

    /// The first marker at `from` or behind it, or what may become one at the end of the buffer. None with
    /// [`Embedded::Ignore`].
    pub(super) fn next_marker(&self, buffer: &[u8], from: usize) -> Option<(usize, Marker)> {
        if self.embedded == Embedded::Ignore {
            return None;
        }
        let mut prefixes = self.prefixes().find_iter(buffer.get(from..)?).map(|at| from + at);
        let marker_at = |at| (at, self.dialect.marker(&buffer[at..]));
        prefixes.find_map(|at| Some(marker_at(at)).filter(|(_, marker)| *marker != Marker::None))
    }

    /// The marker behind the event that ends here, or the line's end.
    fn behind_event(&self, buffer: &[u8], event_end: usize, line_end: usize) -> usize {
        let gap = self.dialect.gap_behind_event(&buffer[event_end..line_end]);
        event_end + gap.unwrap_or_default()
    }

    /// Removes an event and what is between it and `to`, except for escape sequences.
    fn take_out(
        &mut self,
        buffer: &[u8],
        event_start: usize,
        event_end: usize,
        to: usize,
        handler: &mut impl Handler,
    ) {
        let (mut from, mut at) = (event_start, event_end);
        while let Some(found) = memchr(ESCAPE, &buffer[at..to]) {
            at += found;
            self.remove(from, at, handler);
            // Only whole sequences are in a gap.
            at += match escape_sequence::start_of(&buffer[at..to]) {
                Start::Sequence { length, .. } => length,
                Start::Partial | Start::Other => 1,
            };
            from = at;
        }
        self.remove(from, to, handler);
    }
}
