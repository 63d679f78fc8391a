//! The files of unix sockets that the sidecar made, to be removed at its end, whatever that is.

use crate::net::unix_socket::SocketFile;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The files. They are removed when it is dropped.
#[derive(Debug, Default)]
pub struct SocketFiles(Arc<Mutex<Vec<SocketFile>>>);

impl SocketFiles {
    /// Adds one, if there is one.
    pub fn add(&self, file: Option<SocketFile>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(file);
    }

    /// Removes the files earlier, from another thread.
    pub fn remover(&self) -> Remover {
        Remover(Arc::downgrade(&self.0))
    }
}

/// Removes the files if they are still there.
#[derive(Debug)]
pub struct Remover(Weak<Mutex<Vec<SocketFile>>>);

impl Remover {
    /// Removes the files.
    pub fn remove(&self) {
        if let Some(files) = self.0.upgrade() {
            files.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}
