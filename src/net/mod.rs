//! Addresses, listeners and sockets, and the files that TLS and tokens are read from.

pub(crate) mod accept;
pub mod address;
pub mod bind_error;
#[doc(hidden)]
pub mod listener;
pub(crate) mod pem;
pub mod reload;
pub mod reloader;
pub mod socket;
pub mod source_file;
pub mod tls;
pub mod tokens;
pub mod unix_socket;
