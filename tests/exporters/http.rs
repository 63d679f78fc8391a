//! A raw HTTP/1.1 client.

use flate2::read::GzDecoder;
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream), host: address.to_owned() }
    }

    /// Sends bytes unchanged.
    pub fn send(&mut self, bytes: &str) {
        self.stream.get_mut().write_all(bytes.as_bytes()).unwrap();
    }

    /// Sends a request with these additional header lines and reads the response.
    pub fn request(&mut self, method: &str, path: &str, headers: &str) -> Answer {
        let host = format!("Host: {}\r\n", self.host);
        self.exchange(method, &format!("{method} {path} HTTP/1.1\r\n{host}{headers}\r\n"))
    }

    /// Sends a complete request of this method and reads the response.
    pub fn exchange(&mut self, method: &str, request: &str) -> Answer {
        self.send(request);
        let mut lines = std::iter::from_fn(|| {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
        });
        let status = lines.next().expect("no answer").split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: String| {
            let (name, value) = line.split_once(": ").expect(&line);
            (name.to_owned(), value.to_owned())
        };
        let headers = lines.map(header).collect();
        let mut answer = Answer { status, headers, body: String::new() };
        if method != "HEAD" {
            let mut body = vec![0; answer.header("content-length").parse().unwrap()];
            self.stream.read_exact(&mut body).unwrap();
            answer.body = match answer.header("content-encoding") {
                "" => String::from_utf8(body).unwrap(),
                "gzip" => io::read_to_string(GzDecoder::new(&body[..])).unwrap(),
                other => panic!("the body is encoded with {other}"),
            };
        }
        answer
    }

    /// Waits until the response has begun.
    pub fn begin_reading(&mut self) {
        assert!(!self.stream.fill_buf().unwrap().is_empty());
    }

    /// Waits for data and returns whether the server has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

/// Sends one request on its own connection.
pub fn get(address: &str, path: &str, headers: &str) -> Answer {
    Connection::open(address).request("GET", path, headers)
}
