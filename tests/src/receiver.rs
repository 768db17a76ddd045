//! A webhook receiver in the test's own process that answers as a test wants it, well or badly.
//!
//! It is written on bare sockets because most of what it must be able to do is what no HTTP library does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use standardwebhooks::Webhook;
use ureq::http::{HeaderMap, HeaderName, HeaderValue};

/// A request that came in whole.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it had been read.
    pub at: Instant,
}

impl Request {
    /// The value of a header, empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a pushed body is JSON")
    }

    /// Whether it is signed with this secret (`whsec_…`), judged by the library of Standard Webhooks.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
            headers.insert(name, HeaderValue::from_str(value).expect("the value of a header"));
        }
        Webhook::new(secret).expect("a secret").verify(&self.body, &headers).is_ok()
    }

    /// The sequence of the pushed notification, from its header.
    pub fn sequence(&self) -> u64 {
        self.header("tidings-sequence").parse().expect("tidings-sequence is a number")
    }
}

/// What the receiver answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status without body; the connection stays open.
    Status(u16),
    /// A status with headers and no body; the connection stays open.
    WithHeaders(u16, Vec<(String, String)>),
    /// A status with headers and a body; the connection stays open.
    WithBody(u16, Vec<(String, String)>, Vec<u8>),
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes one after another with a pause before each, then the connection is closed.
    Drip(Vec<Vec<u8>>, Duration),
    /// The reply, after a pause.
    After(Duration, Box<Reply>),
    /// No answer at all; the connection stays open.
    Hang,
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Close,
}

type Answerer = dyn Fn(&Request, usize) -> Reply + Send + Sync;

struct Shared {
    answer: Box<Answerer>,
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    count: AtomicUsize,
    stopped: AtomicBool,
    /// Open connections, by where they come from.
    streams: Mutex<HashMap<SocketAddr, TcpStream>>,
}

impl Shared {
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<SocketAddr, TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A receiver on a port of its own. Stopped with the value.
pub struct Receiver {
    port: u16,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts a receiver; the closure gets each request and how many came before it.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let mut receiver = Receiver {
            port: crate::ports::free(),
            shared: Arc::new(Shared {
                answer: Box::new(answer),
                requests: Mutex::default(),
                arrived: Condvar::new(),
                count: AtomicUsize::new(0),
                stopped: AtomicBool::new(true),
                streams: Mutex::default(),
            }),
            listening: None,
        };
        receiver.resume();
        receiver
    }

    /// A receiver that takes everything.
    pub fn accepting() -> Self {
        Self::start(|_, _| Reply::Status(204))
    }

    /// Where to push to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Listens again, on the same port, after [`stop`](Self::stop).
    pub fn resume(&mut self) {
        assert!(self.listening.is_none(), "the receiver still listens");
        self.shared.stopped.store(false, Ordering::SeqCst);
        // Another process may try the same port at this moment to see whether it is free.
        let listener = crate::until("the receiver's port to be free", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", self.port)).ok()
        });
        let shared = Arc::clone(&self.shared);
        self.listening = Some(std::thread::spawn(move || {
            loop {
                let accepted = listener.accept();
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok((stream, peer)) = accepted else { continue };
                let Ok(kept) = stream.try_clone() else { continue };
                // Before the next is accepted: whoever is accepted later knows that this one is counted.
                shared.streams().insert(peer, kept);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    converse(&shared, &stream);
                    // The clone that `stop` would close must not keep the socket open.
                    shared.streams().remove(&peer);
                });
            }
        }));
    }

    /// Stops listening and closes every connection.
    pub fn stop(&mut self) {
        let Some(listening) = self.listening.take() else { return };
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        listening.join().expect("the receiver's thread ended well");
        for (_, stream) in self.shared.streams().drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits until every connection that was made so far has ended, its requests with it: those of a sender that was
    /// killed may still be under way.
    #[track_caller]
    pub fn wait_for_the_end_of_connections(&self) {
        // Connections are accepted one after the other, so those before this one are counted by now.
        let last = TcpStream::connect(("127.0.0.1", self.port)).expect("the receiver listens");
        let own = last.local_addr().expect("a connected socket has an address");
        let bound = Duration::from_secs(60);
        crate::until("the connection to be accepted", bound, || {
            self.shared.streams().contains_key(&own).then_some(())
        });
        drop(last);
        crate::until("all connections to end", bound, || self.shared.streams().is_empty().then_some(()));
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// The sequences of all requests so far, in the order of their arrival, repeated ones too.
    pub fn sequences(&self) -> Vec<u64> {
        self.shared.requests().iter().map(Request::sequence).collect()
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.shared.requests().len()
    }

    /// Waits for at least so many requests, and gives all that have come.
    #[track_caller]
    pub fn wait_for(&self, count: usize, bound: Duration) -> Vec<Request> {
        self.wait_until(&format!("{count} requests"), bound, |requests| requests.len() >= count)
    }

    /// Waits until the requests so far are what is wanted, and gives them.
    #[track_caller]
    pub fn wait_until(
        &self,
        what: &str,
        bound: Duration,
        enough: impl Fn(&[Request]) -> bool,
    ) -> Vec<Request> {
        let end = Instant::now() + bound;
        let mut requests = self.shared.requests();
        while !enough(&requests) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {bound:?} in vain for {what}; {} requests came", requests.len());
            requests =
                self.shared.arrived.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        requests.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Serves one connection until it ends.
fn converse(shared: &Shared, stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let mut reader = BufReader::with_capacity(1, stream);
    while let Some(request) = read(&mut reader) {
        let nth = shared.count.fetch_add(1, Ordering::SeqCst);
        let reply = (shared.answer)(&request, nth);
        let unread = !request.body.is_empty();
        shared.requests().push(request);
        shared.arrived.notify_all();
        if !answer(stream, &mut reader, unread, reply) {
            break;
        }
    }
}

/// Reads one request, all but the last byte of its body: a socket that is closed with something unread sends a reset,
/// which is how [`Reply::Reset`] is done. (To a request without a body it is a close.)
fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = match headers.iter().find(|(name, _)| name == "content-length") {
        Some((_, length)) => length.parse::<usize>().ok()?,
        None if matches!(method.as_str(), "GET" | "OPTIONS") => 0,
        None => return None,
    };
    let mut body = vec![0; length.saturating_sub(1)];
    reader.read_exact(&mut body).ok()?;
    if length > 0 {
        let mut last = [0];
        (reader.get_ref().peek(&mut last).ok()? == 1).then(|| body.push(last[0]))?;
    }
    Some(Request { method, path, headers, body, at: Instant::now() })
}

/// Answers a request, of which a byte may be unread; false when the connection is to be closed.
fn answer(stream: &TcpStream, reader: &mut BufReader<&TcpStream>, unread: bool, reply: Reply) -> bool {
    if matches!(reply, Reply::Reset) {
        return false;
    }
    if let Reply::After(pause, reply) = reply {
        std::thread::sleep(pause);
        return answer(stream, reader, unread, *reply);
    }
    if unread && reader.read_exact(&mut [0]).is_err() {
        return false;
    }
    let mut writer = stream;
    match reply {
        Reply::Status(status) => writer.write_all(head(status, &[]).as_bytes()).is_ok(),
        Reply::WithHeaders(status, headers) => writer.write_all(head(status, &headers).as_bytes()).is_ok(),
        Reply::WithBody(status, mut headers, body) => {
            headers.push(("content-length".into(), body.len().to_string()));
            let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let mut answer = format!("HTTP/1.1 {status} Answer\r\n{head}\r\n").into_bytes();
            answer.extend(body);
            writer.write_all(&answer).is_ok()
        }
        Reply::Raw(bytes) => {
            let _ = writer.write_all(&bytes);
            false
        }
        Reply::Drip(parts, pause) => {
            for part in parts {
                std::thread::sleep(pause);
                if writer.write_all(&part).is_err() {
                    return false;
                }
            }
            false
        }
        Reply::Hang => {
            // Until the sender has had enough.
            let mut rest = [0; 64];
            while reader.read(&mut rest).is_ok_and(|count| count > 0) {}
            false
        }
        Reply::Close | Reply::Reset | Reply::After(..) => false,
    }
}

fn head(status: u16, headers: &[(String, String)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if status == 204 { "" } else { "content-length: 0\r\n" };
    format!("HTTP/1.1 {status} Answer\r\n{headers}{length}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";

    fn call(receiver: &Receiver) -> (Vec<u8>, Option<std::io::ErrorKind>) {
        let mut stream = TcpStream::connect(("127.0.0.1", receiver.port())).unwrap();
        stream.write_all(POST).unwrap();
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer).err().map(|error| error.kind());
        (answer, end)
    }

    #[test]
    fn each_way_to_end_is_what_it_says() {
        let receiver = Receiver::start(|_, nth| match nth {
            0 => Reply::Reset,
            1 => Reply::Close,
            _ => Reply::Raw(b"hello".to_vec()),
        });
        assert_eq!(call(&receiver), (vec![], Some(std::io::ErrorKind::ConnectionReset)));
        assert_eq!(call(&receiver), (vec![], None));
        assert_eq!(call(&receiver), (b"hello".to_vec(), None));
        assert!(receiver.requests().iter().all(|request| request.body == b"{}"));
    }

    #[test]
    fn it_stops_and_comes_back_on_its_port() {
        let mut receiver = Receiver::accepting();
        let mut open = TcpStream::connect(("127.0.0.1", receiver.port())).unwrap();
        open.write_all(POST).unwrap();
        let mut start = [0; 12];
        open.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 204");
        receiver.stop();
        assert!(TcpStream::connect(("127.0.0.1", receiver.port())).is_err());
        // Ends at once, because the receiver has closed it.
        let _ = open.read_to_end(&mut Vec::new());
        receiver.resume();
        assert_eq!(call_and_hang_up(&receiver), b"HTTP/1.1 204");
    }

    #[test]
    fn it_knows_when_the_last_request_of_a_sender_that_is_gone_has_ended() {
        let receiver =
            Receiver::start(|_, _| Reply::After(Duration::from_millis(300), Box::new(Reply::Status(204))));
        let mut stream = TcpStream::connect(("127.0.0.1", receiver.port())).unwrap();
        stream.write_all(POST).unwrap();
        drop(stream);
        receiver.wait_for_the_end_of_connections();
        let request = receiver.requests().remove(0);
        assert!(request.at.elapsed() >= Duration::from_millis(300), "it was still being answered");
    }

    fn call_and_hang_up(receiver: &Receiver) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", receiver.port())).unwrap();
        stream.write_all(POST).unwrap();
        let mut start = vec![0; 12];
        stream.read_exact(&mut start).unwrap();
        start
    }
}
