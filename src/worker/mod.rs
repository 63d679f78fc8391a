//! The child process: started as if by exec, signalled once, left as it left.
//!
//! The worker and whoever started the sidecar are not to be able to tell that it is there, apart from stderr being a
//! pipe. Each file has one part of that, and each rule its reason beside it.

pub mod copier;
pub mod exit;
mod helper;
mod number;
pub mod signals;
pub mod spawn;
pub mod startup;
pub mod state;
pub mod supervisor;
pub mod witness;

pub use exit::Exit;
