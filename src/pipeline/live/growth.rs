//! Enlarges the worker's pipe while reads come full.

use crate::worker::pipe;
use std::os::fd::OwnedFd;

/// Whether the pipe may still be enlarged.
pub(super) struct Growth {
    allowed: bool,
}

impl Growth {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed }
    }

    /// Doubles the pipe, until the system refuses. For some workers it has been enlarged at the start, so its
    /// size is not assumed: setting one that is too small would shrink it.
    pub(super) fn after_large_read(&mut self, fd: &OwnedFd) {
        self.allowed = self.allowed && pipe::double(fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::pipe::{DEFAULT_BYTES, MAX_BYTES, PipeSize, enlarge, open, size};

    #[test]
    fn a_pipe_grows_from_the_size_that_it_has() {
        let (reader, _writer) = open(PipeSize::Default).unwrap();
        let mut growth = Growth::new(true);
        growth.after_large_read(&reader);
        assert_eq!(size(&reader), Ok(2 * DEFAULT_BYTES));
        enlarge(&reader);
        let enlarged = size(&reader).unwrap();
        growth.after_large_read(&reader);
        assert_eq!(size(&reader), Ok(enlarged.min(MAX_BYTES)));
    }
}
