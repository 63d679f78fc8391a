//! What the last part of an event's name says.

/// The phase of an operation: the last part of an event's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `.start`: the operation starts.
    Start,
    /// `.stop`: the operation has succeeded.
    Stop,
    /// `.exception`: the operation has failed.
    Exception,
    /// Any other name: an event without an operation.
    Point,
}

impl Phase {
    /// The phase of an event, by the number of parts of its name and the last part.
    pub fn of(parts: usize, last: &str) -> Self {
        match last {
            // A name that is only a phase has no operation.
            _ if parts < 2 => Self::Point,
            "start" => Self::Start,
            "stop" => Self::Stop,
            "exception" => Self::Exception,
            _ => Self::Point,
        }
    }

    /// The operation of an event with this dotted name: the name without `.start`, `.stop` or `.exception`.
    pub fn operation(self, name: &str) -> &str {
        match self {
            Self::Point => name,
            _ => name.rsplit_once('.').map_or(name, |(operation, _)| operation),
        }
    }
}
