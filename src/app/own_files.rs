//! The files that the sidecar made, such as those of unix sockets: they are removed at its end.

use crate::system::own_file::OwnFile;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The files. They are removed when it is dropped.
#[derive(Debug, Default)]
pub struct OwnFiles(Arc<Mutex<Vec<OwnFile>>>);

impl OwnFiles {
    /// Adds one, if there is one.
    pub fn add(&self, file: Option<OwnFile>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(file);
    }

    /// Removes the files earlier, from another thread.
    pub fn remover(&self) -> Remover {
        Remover(Arc::downgrade(&self.0))
    }
}

/// Removes the files if they are still there.
#[derive(Debug)]
pub struct Remover(Weak<Mutex<Vec<OwnFile>>>);

impl Remover {
    /// Removes the files.
    pub fn remove(&self) {
        if let Some(files) = self.0.upgrade() {
            files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}
