//! An HTTP/1.1 client small enough to send what no library would: broken chunks, half a header, a body that stops.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The body as it came; `body` has signs in place of what is no UTF-8.
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream) }
    }

    /// A request with a body of known length.
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes());
        self.write(body);
    }

    /// Bytes as they are. The service may have closed its side already.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Whether the service has not closed the connection. Nothing may be waiting to be read.
    pub(crate) fn is_open(&mut self) -> bool {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).expect("not blocking");
        let open = matches!(stream.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).expect("blocking");
        open
    }

    /// Everything until the service closes the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// Sends no more.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Write);
    }

    /// The next answer; `None` if the connection was closed instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let (status, headers) = self.head()?;
        let mut answer = Answer { status, headers, body: String::new(), bytes: Vec::new() };
        let mut body = Vec::new();
        if let Some(length) = answer.header("content-length") {
            body = vec![0; length.parse().expect("a length")];
            self.stream.read_exact(&mut body).expect("the body");
        } else if answer.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                body.extend_from_slice(&chunk);
            }
        }
        answer.body = String::from_utf8_lossy(&body).into_owned();
        answer.bytes = body;
        Some(answer)
    }

    /// Status and header lines of the next answer.
    pub(crate) fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => return Some((status, headers)),
            }
        }
    }

    /// The next chunk of a chunked body; `None` at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        self.try_chunk().expect("a chunk")
    }

    /// The same for a body that may break off.
    pub(crate) fn try_chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let length = usize::from_str_radix(line.trim_end(), 16).expect("a chunk's length");
        let mut chunk = vec![0; length + 2];
        self.stream.read_exact(&mut chunk)?;
        chunk.truncate(length);
        Ok((length > 0).then_some(chunk))
    }
}
