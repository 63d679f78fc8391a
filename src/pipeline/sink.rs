//! What the splitter finds, sorted into a batch and ranges to pass.

use super::deferred::Deferred;
use crate::{
    event::{batch::BatchBuilder, stats::StreamStats},
    input::{
        decode::{Decoder, Reject},
        splitter::Handler,
    },
};
use std::ops::Range;

/// Takes the lines and markers that the splitter finds in a buffer.
pub(super) struct Sink<'a> {
    pub(super) decoder: &'a mut Decoder,
    /// The time of the last read.
    pub(super) now_ns: i64,
    pub(super) deferred: &'a Deferred,
    pub(super) batch: &'a mut BatchBuilder,
    pub(super) pass: &'a mut Vec<Range<usize>>,
    /// Where the events of the batch start in the buffer, if that is wanted.
    pub(super) starts: Option<&'a mut Vec<usize>>,
    /// The address of the buffer.
    pub(super) buffer: usize,
    pub(super) stats: &'a mut StreamStats,
}

impl Sink<'_> {
    /// Decodes an event that starts with this part of the buffer.
    fn decode(&mut self, json: &[u8]) -> Result<usize, Reject> {
        let start = json.as_ptr().addr().saturating_sub(self.buffer);
        let read_ns = self.deferred.read_ns(start).unwrap_or(self.now_ns);
        let decoded = self.decoder.decode(json, read_ns, self.batch)?;
        if let Some(starts) = &mut self.starts {
            starts.push(start);
        }
        Ok(decoded)
    }
}

impl Handler for Sink<'_> {
    fn telemetry_line(&mut self, json: &[u8]) -> Option<usize> {
        self.stats.telemetry_lines += 1;
        let decoded = self.decode(json);
        match decoded {
            Ok(_) => self.stats.decoded += 1,
            Err(Reject::Oversized) => self.stats.oversized += 1,
            Err(Reject::Malformed(reason)) => self.stats.malformed.add(reason),
        }
        decoded.ok()
    }

    fn oversized_line(&mut self) {
        self.stats.telemetry_lines += 1;
        self.stats.oversized += 1;
    }

    fn embedded(&mut self, json: &[u8]) -> Option<usize> {
        self.stats.embedded_markers += 1;
        let decoded = self.decode(json).ok();
        match decoded {
            Some(_) => self.stats.embedded += 1,
            None => self.stats.embedded_malformed += 1,
        }
        decoded
    }

    fn oversized_embedded(&mut self) {
        self.stats.embedded_markers += 1;
        self.stats.embedded_malformed += 1;
    }

    fn pass(&mut self, range: Range<usize>) {
        self.pass.push(range);
    }

    fn removed(&mut self, bytes: usize) {
        self.stats.bytes_removed += bytes as u64;
    }
}
