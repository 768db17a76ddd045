//! The receiver: takes pushes in a process of its own, checks off every sequence, and says how far it is when asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::generator::{histogram, now_micros};
use crate::http::{STAMP, find, header};

/// How far the receiver is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Requests taken.
    pub(crate) requests: u64,
    /// By path: how many different sequences have come, and the greatest of them.
    pub(crate) tenants: BTreeMap<String, (u64, u64)>,
    /// When the last new one came, in microseconds since 1970.
    pub(crate) last_at: u64,
    /// From the post of an event to its push, in microseconds.
    pub(crate) p50: u64,
    /// The same.
    pub(crate) p99: u64,
}

impl Status {
    /// How many different notifications have come.
    pub(crate) fn distinct(&self) -> u64 {
        self.tenants.values().map(|(distinct, _)| distinct).sum()
    }
}

struct Taken {
    requests: u64,
    /// By path: which sequences have come, and how many.
    seen: BTreeMap<String, (Vec<bool>, u64)>,
    last_at: u64,
    latency: Histogram<u64>,
}

impl Taken {
    fn take(&mut self, head: &str, body: &[u8]) {
        self.requests += 1;
        let path = head.split(' ').nth(1).unwrap_or_default();
        let Some(sequence) = header(head, "tidings-sequence").and_then(|text| text.parse::<usize>().ok())
        else {
            return;
        };
        if !self.seen.contains_key(path) {
            self.seen.insert(path.to_owned(), (Vec::new(), 0));
        }
        let (seen, distinct) = self.seen.get_mut(path).expect("inserted above");
        if seen.len() <= sequence {
            seen.resize(sequence + 1, false);
        }
        if std::mem::replace(&mut seen[sequence], true) {
            return;
        }
        *distinct += 1;
        self.last_at = now_micros();
        let field = b"\"sentAt\":\"";
        let sent = find(body, field).and_then(|at| {
            let digits = body.get(at + field.len()..at + field.len() + STAMP.len())?;
            std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
        });
        if let Some(sent) = sent {
            self.latency.saturating_record(self.last_at.saturating_sub(sent));
        }
    }

    fn status(&self) -> Status {
        let tenant = |(seen, distinct): &(Vec<bool>, u64)| (*distinct, seen.len().saturating_sub(1) as u64);
        Status {
            requests: self.requests,
            tenants: self.seen.iter().map(|(path, seen)| (path.clone(), tenant(seen))).collect(),
            last_at: self.last_at,
            p50: self.latency.value_at_quantile(0.5),
            p99: self.latency.value_at_quantile(0.99),
        }
    }
}

/// Takes pushes until it is killed. A GET is answered with the [`Status`].
pub(crate) async fn run(port: u16) {
    let taken =
        Rc::new(RefCell::new(Taken { requests: 0, seen: BTreeMap::new(), last_at: 0, latency: histogram() }));
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the receiver's port is free");
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(converse(stream, Rc::clone(&taken)));
    }
}

async fn converse(mut stream: TcpStream, taken: Rc<RefCell<Taken>>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(1 << 14);
    loop {
        let whole = find(&buffer, b"\r\n\r\n").and_then(|at| {
            let head = std::str::from_utf8(&buffer[..at]).ok()?;
            if head.starts_with("GET ") {
                let status = serde_json::to_string(&taken.borrow().status()).expect("a status is JSON");
                return Some((at + 4, status));
            }
            let length: usize = header(head, "content-length")?.parse().ok()?;
            let end = at + 4 + length;
            (buffer.len() >= end).then(|| {
                taken.borrow_mut().take(head, &buffer[at + 4..end]);
                (end, String::new())
            })
        });
        match whole {
            Some((end, body)) => {
                buffer.drain(..end);
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            None => match stream.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            },
        }
    }
}
