//! JSON on several lines, as it is printed for people.

use super::Next;

/// A JSON text, as far as it was read. It starts with a brace or bracket on a line of its own.
#[derive(Debug, Clone)]
pub(in super::super) struct Json {
    /// Braces and brackets that are open.
    depth: u32,
}

impl Json {
    pub(super) fn start(line: &str) -> Self {
        let mut json = Self { depth: 0 };
        json.read(line);
        json
    }

    pub(super) fn next(&mut self, line: &str) -> Next {
        if !line.starts_with([' ', '\t', '}', ']']) {
            return Next::Ended;
        }
        self.read(line);
        if self.is_complete() { Next::Last } else { Next::Continues }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.depth == 0
    }

    /// Counts braces and brackets outside strings. A string ends on its line.
    fn read(&mut self, line: &str) {
        let (mut in_string, mut escaped) = (false, false);
        for byte in line.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => self.depth = self.depth.saturating_add(1),
                b'}' | b']' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}
