//! A server that answers by a script, rightly or wrongly, and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Client, ClientBuilder};

pub(super) enum Reply {
    /// Writes this, and keeps the connection.
    Keep(String),
    /// Writes this, and closes the connection.
    Close(String),
    /// Writes this, and a byte more every 20 ms, as long as anyone listens.
    Drip(String),
}

/// A well-formed answer with a JSON body.
pub(super) fn json(status: u16, headers: &str, body: &str) -> Reply {
    Reply::Keep(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
}

pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) line: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Mutex<Receiver<()>>,
}

impl Server {
    pub(super) fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let replies = Arc::new(Mutex::new(replies.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (closing, closed) = channel();
        let seen_too = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (replies, seen, closing) = (replies.clone(), seen_too.clone(), closing.clone());
                std::thread::spawn(move || talk(stream.unwrap(), &replies, &seen, &closing));
            }
        });
        Server { address, seen, closed: Mutex::new(closed) }
    }

    pub(super) fn client(&self) -> ClientBuilder {
        Client::builder(format!("http://{}", self.address)).key("a-secret-key")
    }

    /// The requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Returns once a client has closed a connection.
    pub(super) fn wait_for_close(&self) {
        let closed = self.closed.lock().unwrap();
        closed.recv_timeout(Duration::from_secs(10)).expect("the client closes its connection");
    }
}

fn talk(stream: TcpStream, replies: &Mutex<VecDeque<Reply>>, seen: &Mutex<Vec<Seen>>, closing: &Sender<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader) {
        seen.lock().unwrap().push(request);
        let reply = replies.lock().unwrap().pop_front();
        match reply.unwrap_or_else(|| json(500, "", "nothing more is in the script")) {
            Reply::Keep(text) => writer.write_all(text.as_bytes()).unwrap(),
            Reply::Close(text) => return writer.write_all(text.as_bytes()).unwrap(),
            Reply::Drip(text) => {
                writer.write_all(text.as_bytes()).unwrap();
                while writer.write_all(b" ").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                break;
            }
        }
    }
    // Nobody may be interested any more.
    let _ = closing.send(());
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) if line == "\r\n" => break,
            Ok(_) => lines.push(line.trim_end().to_owned()),
        }
    }
    let line = lines.remove(0);
    let split = |line: &String| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned())).unwrap();
    let mut seen =
        Seen { at: Instant::now(), line, headers: lines.iter().map(split).collect(), body: String::new() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    reader.take(length).read_to_string(&mut seen.body).unwrap();
    Some(seen)
}
