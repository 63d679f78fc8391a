//! What listens at an address where a call has failed.

use super::ClientError;
use crate::net::address::{Address, HostPort};
use std::{error::Error as _, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long the peer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What an answer of HTTP/1 begins with.
const HTTP_1: [u8; 7] = *b"HTTP/1.";

impl ClientError {
    /// The same error of a call to an address that the user gave, or that the peer is a web server: how
    /// HTTP/2 fails there depends on which side is faster. Takes at most a second.
    pub async fn explained(self) -> Self {
        match self {
            Self::Call { status, address: Address::Tcp(host) }
                // The connection has failed, and not the call.
                if status.source().is_some() && speaks_http_1(&host).await =>
            {
                Self::NotGrpc { address: Address::Tcp(host) }
            }
            error => error,
        }
    }
}

async fn speaks_http_1(HostPort { host, port }: &HostPort) -> bool {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    let asked = async {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; HTTP_1.len()];
        stream.read_exact(&mut start).await.map(|_| start)
    };
    matches!(timeout(TIMEOUT, asked).await, Ok(Ok(HTTP_1)))
}
