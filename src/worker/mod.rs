//! The child process: starting it, passing signals on, and leaving as it left.

pub mod exit;
pub mod signals;
pub mod spawn;

pub use exit::Exit;
