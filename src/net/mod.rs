//! Addresses, listeners and sockets, and the files that TLS and tokens are read from.

pub(crate) mod accept;
pub mod address;
pub mod bind_error;
pub(crate) mod client_tls;
#[doc(hidden)]
pub mod listener;
pub(crate) mod pem;
pub mod reload;
pub mod reloader;
mod server_verifier;
pub mod socket;
pub mod source_file;
pub mod tls;
pub mod tokens;
pub mod unix_socket;
