//! HTTP/1.1 on a kept connection, and nothing else: a request is sent once and never again by itself, which a judge relies on, and
//! it costs next to nothing, which a load generator relies on.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One connection to one host.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    head: Vec<u8>,
    body: Vec<u8>,
    line: Vec<u8>,
}

impl Connection {
    /// Connects to `http://ADDRESS`.
    pub fn open(url: &str) -> io::Result<Self> {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), head: Vec::new(), body: Vec::new(), line: Vec::new() })
    }

    /// POST; the status, and the body until the next request. After an error the connection is of no more use.
    pub fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> io::Result<(u16, &[u8])> {
        self.post_with(path, &[("content-type", content_type)], body)
    }

    /// [`Connection::post`] with these header lines.
    pub fn post_with(&mut self, path: &str, lines: &[(&str, impl Display)], body: &[u8]) -> io::Result<(u16, &[u8])> {
        self.begin_post(path, lines)?;
        write!(self.head, "content-length: {}\r\n\r\n", body.len())?;
        if body.len() <= 16 << 10 {
            // One packet for small ones.
            self.head.extend_from_slice(body);
            self.stream.get_mut().write_all(&self.head)?;
        } else {
            self.stream.get_mut().write_all(&self.head)?;
            self.stream.get_mut().write_all(body)?;
        }
        let status = self.answer()?;
        Ok((status, &self.body))
    }

    /// The same for a body whose length is not known: one chunk a piece, with a pause before the next.
    pub fn post_in_pieces(
        &mut self,
        path: &str,
        lines: &[(&str, impl Display)],
        pieces: &[impl AsRef<[u8]>],
        pause: Duration,
    ) -> io::Result<(u16, &[u8])> {
        self.begin_post(path, lines)?;
        self.head.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for piece in pieces {
            write!(self.head, "{:x}\r\n", piece.as_ref().len())?;
            self.head.extend_from_slice(piece.as_ref());
            self.head.extend_from_slice(b"\r\n");
            self.stream.get_mut().write_all(&self.head)?;
            self.head.clear();
            std::thread::sleep(pause);
        }
        self.stream.get_mut().write_all(b"0\r\n\r\n")?;
        let status = self.answer()?;
        Ok((status, &self.body))
    }

    /// The head of a request without what says how long its body is.
    fn begin_post(&mut self, path: &str, lines: &[(&str, impl Display)]) -> io::Result<()> {
        self.head.clear();
        write!(self.head, "POST {path} HTTP/1.1\r\nhost: localhost\r\n")?;
        lines.iter().try_for_each(|(name, value)| write!(self.head, "{name}: {value}\r\n"))
    }

    /// GET of something that goes on: the lines of its body as they come, until `each` says no or the answer ends.
    pub fn follow(&mut self, path: &str, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<u16> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        let (status, length) = self.read_head()?;
        if length != Length::Chunked {
            self.read_body(length)?;
            self.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).all(each);
            return Ok(status);
        }
        let mut rest = Vec::new();
        while self.read_chunk()? {
            rest.extend_from_slice(&self.body);
            let mut begin = 0;
            while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                if !each(&rest[begin..begin + length]) {
                    return Ok(status);
                }
                begin += length + 1;
            }
            rest.drain(..begin);
        }
        Ok(status)
    }

    fn answer(&mut self) -> io::Result<u16> {
        let (status, length) = self.read_head()?;
        self.read_body(length)?;
        Ok(status)
    }

    fn read_head(&mut self) -> io::Result<(u16, Length)> {
        self.read_line()?;
        let text = String::from_utf8_lossy(&self.line);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| invalid(format!("`{}` is no status line", text.trim())))?;
        let mut length = Length::Bytes(0);
        loop {
            self.read_line()?;
            if self.line.is_empty() {
                return Ok((status, length));
            }
            let text = String::from_utf8_lossy(&self.line).to_ascii_lowercase();
            if let Some(bytes) = text.strip_prefix("content-length:") {
                let bytes = bytes.trim().parse().map_err(|_| invalid(format!("`{text}`")))?;
                length = Length::Bytes(bytes);
            } else if text.starts_with("transfer-encoding:") && text.contains("chunked") {
                length = Length::Chunked;
            }
        }
    }

    fn read_body(&mut self, length: Length) -> io::Result<()> {
        match length {
            Length::Bytes(bytes) if bytes > ANSWER_BYTES_MAX => Err(invalid(format!("an answer of {bytes} bytes"))),
            Length::Bytes(bytes) => {
                self.body.resize(bytes, 0);
                self.stream.read_exact(&mut self.body)
            }
            Length::Chunked => {
                let mut whole = Vec::new();
                while self.read_chunk()? {
                    whole.extend_from_slice(&self.body);
                    if whole.len() > ANSWER_BYTES_MAX {
                        return Err(invalid("an answer without end".to_owned()));
                    }
                }
                self.body = whole;
                Ok(())
            }
        }
    }

    /// The next chunk into `body`; false at the end.
    fn read_chunk(&mut self) -> io::Result<bool> {
        self.read_line()?;
        let text = String::from_utf8_lossy(&self.line);
        let size = usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16);
        let size = size.map_err(|_| invalid(format!("`{text}` is no size of a chunk")))?;
        if size > ANSWER_BYTES_MAX {
            return Err(invalid(format!("a chunk of {size} bytes")));
        }
        self.body.resize(size, 0);
        self.stream.read_exact(&mut self.body)?;
        self.read_line()?;
        Ok(size > 0)
    }

    fn read_line(&mut self) -> io::Result<()> {
        self.line.clear();
        if self.stream.read_until(b'\n', &mut self.line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while self.line.last().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
            self.line.pop();
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunked,
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
