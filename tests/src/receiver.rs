//! A receiver of webhooks that remembers ids, as the Standard Webhooks specification asks of one, and that misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the receiver does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Takes it and says so.
    Take,
    /// Answers with this status and, if there is one, this further header line; takes nothing.
    Refuse(u16, Option<String>),
    /// Takes it and hangs up without a word: the sender cannot know.
    TakeAndHangUp,
    /// Takes it, and answers only after this long.
    TakeSlowly(Duration),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Delivery {
    /// Its `webhook-id`.
    ///
    /// # Panics
    /// If it has none.
    pub fn id(&self) -> &str {
        self.headers.get("webhook-id").expect("a webhook has an id")
    }
}

/// The status with which a receiver refuses a body, if it does not like it.
type Judge = Box<dyn Fn(&[u8]) -> Option<u16> + Send>;

#[derive(Default)]
struct Received {
    script: VecDeque<Reply>,
    judge: Option<Judge>,
    attempts: Vec<Delivery>,
    /// By id; the order in which they were first taken.
    taken: Vec<Delivery>,
}

/// A running receiver; it ends with the value.
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    stop: Arc<AtomicBool>,
}

impl Receiver {
    /// Listens on a free port of this machine.
    ///
    /// # Panics
    /// If there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Received::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopping) = (received.clone(), stop.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(connection), shared) = (connection, shared.clone()) else { continue };
                // A connection that breaks is the sender's business.
                std::thread::spawn(move || drop(serve(connection, &shared)));
            }
        });
        Self { address, received, stop }
    }

    /// `http://127.0.0.1:…/hook`.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it does with the next requests, one each; afterwards it takes everything.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.received().script = replies.into_iter().collect();
    }

    /// From now on, bodies that `judge` does not like are refused with the status it names, whatever the script says.
    pub fn refuse_if(&self, judge: impl Fn(&[u8]) -> Option<u16> + Send + 'static) {
        self.received().judge = Some(Box::new(judge));
    }

    /// Every request, in order.
    pub fn attempts(&self) -> Vec<Delivery> {
        self.received().attempts.clone()
    }

    /// What was taken, each id once.
    pub fn taken(&self) -> Vec<Delivery> {
        self.received().taken.clone()
    }

    /// The lines of what was taken.
    ///
    /// # Panics
    /// If they are no text.
    pub fn lines(&self) -> Vec<String> {
        let taken = self.taken();
        let bodies = taken.iter().map(|delivery| std::str::from_utf8(&delivery.body).expect("text"));
        bodies.flat_map(str::lines).map(str::to_owned).collect()
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(connection: TcpStream, received: &Mutex<Received>) -> io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut writer = connection;
    while let Some(delivery) = read_request(&mut reader)? {
        let reply = {
            let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = received.judge.as_ref().and_then(|judge| judge(&delivery.body));
            let reply = match refused {
                Some(status) => Reply::Refuse(status, None),
                None => received.script.pop_front().unwrap_or(Reply::Take),
            };
            if !matches!(reply, Reply::Refuse(..)) && !received.taken.iter().any(|taken| taken.id() == delivery.id()) {
                received.taken.push(delivery.clone());
            }
            received.attempts.push(delivery);
            reply
        };
        match reply {
            Reply::Take => writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
            Reply::TakeAndHangUp => return Ok(()),
            Reply::TakeSlowly(wait) => {
                std::thread::sleep(wait);
                writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
            }
            Reply::Refuse(status, header) => {
                let header = header.map_or_else(String::new, |header| format!("{header}\r\n"));
                write!(writer, "HTTP/1.1 {status} No\r\n{header}content-length: 5\r\n\r\nsorry")?;
            }
        }
    }
    Ok(())
}

/// `None`: the sender has hung up between two requests.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Delivery>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Delivery { headers, body }))
}
