//! A record that may get more lines.

use super::{
    LineContext, Output, Record,
    assembler::{Added, MAX_HELD_NS},
    format::Facts,
    line::Shown,
    stack::{Next, Stack},
};

/// The most bytes of the lines of a record.
const MAX_RECORD_BYTES: usize = 256 * 1024;

/// Blank lines between the lines of a record, at most.
const MAX_BLANKS: usize = 2;

/// A line, or lines that belong together.
#[derive(Debug)]
pub(super) struct Pending {
    observed_ns: i64,
    /// What the first line says.
    facts: Facts,
    trace: Option<LineContext>,
    text: String,
    /// The group in which the lines are, and its position in the text.
    stack: Option<(Stack, usize)>,
    /// Blank lines after the text.
    blanks: usize,
    /// A line did not fit: no more are kept.
    is_full: bool,
    lines: u64,
    cut_bytes: u64,
}

impl Pending {
    /// Starts with a line that is not blank.
    pub(super) fn new(line: Shown, output: &mut impl Output) -> Self {
        let facts = Facts::of(&line.text);
        Self {
            observed_ns: line.observed_ns,
            trace: context(&facts, output),
            stack: Stack::start(&line.text).map(|stack| (stack, 0)),
            facts,
            text: line.text,
            blanks: 0,
            is_full: false,
            lines: 1,
            cut_bytes: line.cut_bytes,
        }
    }

    pub(super) fn deadline_ns(&self) -> i64 {
        self.observed_ns.saturating_add(MAX_HELD_NS)
    }

    /// Adds a blank line; false if the record ends with it.
    pub(super) fn add_blank(&mut self) -> bool {
        self.blanks += 1;
        self.stack.is_some() && self.blanks <= MAX_BLANKS
    }

    /// Adds a line that is not blank, if it belongs to the record.
    pub(super) fn add(&mut self, line: Shown) -> Added {
        let is_full = self.text.len() + self.blanks + 1 + line.text.len() > MAX_RECORD_BYTES;
        if is_full && self.stack.as_ref().is_some_and(|(stack, _)| !stack.is_certain()) {
            // The lines so far are records of their own, and nothing of them is cut.
            return Added::Refused(line);
        }
        let next = if let Some((stack, _)) = &mut self.stack {
            stack.next(&line.text, self.blanks, || Facts::of(&line.text).severity.is_some())
        } else {
            self.stack = Stack::start_after(&self.text, self.facts.severity.is_some(), &line.text);
            if self.stack.is_some() { Next::Continues } else { Next::Ended }
        };
        match next {
            Next::Foreign => return Added::Foreign(line),
            Next::Ended => return Added::Refused(line),
            Next::Continues | Next::Last => {}
        }
        let blanks = std::mem::take(&mut self.blanks);
        self.lines += 1;
        self.cut_bytes = self.cut_bytes.saturating_add(line.cut_bytes);
        self.is_full |= is_full;
        if self.is_full {
            self.cut_bytes = self.cut_bytes.saturating_add(line.text.len() as u64);
        } else {
            self.text.extend(std::iter::repeat_n('\n', blanks + 1));
            self.text.push_str(&line.text);
        }
        if next == Next::Last { Added::Last } else { Added::Taken }
    }

    /// Ends the record.
    pub(super) fn emit(mut self, output: &mut impl Output) {
        match self.stack.take() {
            Some((stack, _)) if !stack.is_certain() => self.emit_lines(output),
            Some((Stack::Json(_), _)) => {
                self.facts = Facts::of(&self.text);
                self.trace = self.context_of(&self.facts, output);
                self.emit_one(output);
            }
            Some((stack, start)) => {
                self.take_exception(&stack, start);
                self.emit_one(output);
            }
            None => self.emit_one(output),
        }
    }

    /// Leaves the text before the traceback.
    fn take_exception(&mut self, stack: &Stack, start: usize) {
        let traceback = self.text.get(start..).unwrap_or_default();
        let head = self.text.lines().next().unwrap_or_default();
        let exception = stack.exception(head, traceback);
        // The traceback may start in the middle of the line, and the line is the body all the same.
        self.text = match exception.kind.as_str() {
            _ if start > 0 => head.to_owned(),
            "" if exception.message.is_empty() => head.to_owned(),
            "" => exception.message.clone(),
            kind if exception.message.is_empty() => kind.to_owned(),
            kind => format!("{kind}: {}", exception.message),
        };
        self.facts.exception = Some(exception);
    }

    /// One record.
    fn emit_one(self, output: &mut impl Output) {
        let facts = self.facts;
        output.record(Record {
            observed_ns: self.observed_ns,
            time_ns: facts.time_ns,
            severity: facts.severity,
            body: facts.body.unwrap_or(self.text),
            trace: self.trace,
            correlation_id: facts.ids.correlation_id,
            exception: facts.exception,
            attributes: facts.attributes,
            lines: self.lines,
            cut_bytes: self.cut_bytes,
        });
    }

    /// A record for each line: they do not belong together.
    fn emit_lines(self, output: &mut impl Output) {
        let mut cut_bytes = self.cut_bytes;
        for text in self.text.lines().filter(|line| !line.is_empty()) {
            let facts = Facts::of(text);
            let line = Self {
                observed_ns: self.observed_ns,
                trace: self.context_of(&facts, output),
                facts,
                text: text.to_owned(),
                stack: None,
                blanks: 0,
                is_full: false,
                lines: 1,
                cut_bytes: std::mem::take(&mut cut_bytes),
            };
            line.emit_one(output);
        }
    }

    /// The span of a line of this record.
    fn context_of(&self, facts: &Facts, output: &mut impl Output) -> Option<LineContext> {
        let correlation_id = facts.ids.correlation_id.as_deref();
        let known = facts.ids.context().or_else(|| output.context(Some(correlation_id?)));
        known.or(self.trace)
    }
}

/// Emits a line as a record of its own.
pub(super) fn emit_line(line: Shown, output: &mut impl Output) {
    let mut pending = Pending::new(line, output);
    pending.stack = None;
    pending.emit(output);
}

/// The span of a line.
fn context(facts: &Facts, output: &mut impl Output) -> Option<LineContext> {
    facts.ids.context().or_else(|| output.context(facts.ids.correlation_id.as_deref()))
}
