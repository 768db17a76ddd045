//! A network that can be had in any condition: a TCP proxy in the test's own process between two others.
//!
//! It cuts, refuses, delays and slows down, and it shows each piece that passes to a closure first. A test that kills a
//! process from there kills it at a known point: when the answer had left one side, and had not reached the other.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Which way a piece goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the one who connected to the one who listens.
    Request,
    /// Back.
    Answer,
}

/// What was read at once from one side. A message may come in several pieces; over HTTP, the first has the start line.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'p> {
    /// Which connection it is on, counted from 0.
    pub connection: usize,
    /// Which way it goes.
    pub way: Way,
    /// What it is.
    pub bytes: &'p [u8],
}

impl Piece<'_> {
    /// Whether it begins so.
    pub fn begins(&self, text: &str) -> bool {
        self.bytes.starts_with(text.as_bytes())
    }
}

/// What is to become of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is kept back, and what follows it, until [`Proxy::let_go`].
    Hold,
    /// It is thrown away, and its connection is cut.
    Cut,
}

type Watch = Arc<dyn Fn(Piece<'_>) -> Verdict + Send + Sync>;

/// The condition of the way.
#[derive(Clone, Copy, Debug, Default)]
struct Condition {
    delay: Duration,
    bytes_per_second: Option<u64>,
    /// How often what was held was let go.
    let_go: usize,
}

struct Shared {
    target: u16,
    stopped: AtomicBool,
    connections: AtomicUsize,
    condition: Mutex<Condition>,
    /// Something has been let go, or cut.
    changed: Condvar,
    watch: Mutex<Watch>,
    /// Both ends of what is open.
    open: Mutex<HashMap<usize, [TcpStream; 2]>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A way to a port of this machine. Gone with the value.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listening: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// A way to this port, on which somebody listens or will.
    pub fn start(target: u16) -> Self {
        let proxy = Proxy {
            port: crate::ports::free(),
            shared: Arc::new(Shared {
                target,
                stopped: AtomicBool::new(true),
                connections: AtomicUsize::new(0),
                condition: Mutex::default(),
                changed: Condvar::new(),
                watch: Mutex::new(Arc::new(|_| Verdict::Pass)),
                open: Mutex::default(),
            }),
            listening: Mutex::default(),
        };
        proxy.up();
        proxy
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Shows every piece to this from now on, before it goes on. It runs on the connection's thread, and may take its
    /// time.
    pub fn watch(&self, watch: impl Fn(Piece<'_>) -> Verdict + Send + Sync + 'static) {
        *lock(&self.shared.watch) = Arc::new(watch);
    }

    /// Lets everything pass again without showing it, what was held included.
    pub fn pass(&self) {
        self.watch(|_| Verdict::Pass);
        self.let_go();
    }

    /// What was held goes on.
    pub fn let_go(&self) {
        lock(&self.shared.condition).let_go += 1;
        self.shared.changed.notify_all();
    }

    /// Each piece comes this much later.
    pub fn delay(&self, time: Duration) {
        lock(&self.shared.condition).delay = time;
    }

    /// No more than so many bytes a second pass, of each connection and each way.
    pub fn slow_down(&self, bytes_per_second: Option<u64>) {
        lock(&self.shared.condition).bytes_per_second = bytes_per_second;
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        for (_, ends) in lock(&self.shared.open).drain() {
            close(&ends);
        }
        let _held = lock(&self.shared.condition);
        self.shared.changed.notify_all();
    }

    /// The way is gone: every connection is cut, and new ones are refused.
    pub fn down(&self) {
        let mut listening = lock(&self.listening);
        if let Some(thread) = listening.take() {
            self.shared.stopped.store(true, Ordering::SeqCst);
            // Wakes the thread, which then ends and takes the listener with it.
            let _ = TcpStream::connect(("127.0.0.1", self.port));
            thread.join().expect("the proxy's thread ended well");
        }
        drop(listening);
        self.cut();
    }

    /// The way is there again.
    pub fn up(&self) {
        let mut listening = lock(&self.listening);
        if listening.is_some() {
            return;
        }
        self.shared.stopped.store(false, Ordering::SeqCst);
        // Another process may try the same port at this moment to see whether it is free.
        let listener = crate::until("the proxy's port to be free", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", self.port)).ok()
        });
        let shared = Arc::clone(&self.shared);
        *listening = Some(std::thread::spawn(move || {
            loop {
                let accepted = listener.accept();
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, &stream));
            }
        }));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.down();
    }
}

fn close(ends: &[TcpStream; 2]) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Carries one connection until it ends.
fn serve(shared: &Shared, near: &TcpStream) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", shared.target)) else { return };
    for stream in [near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let (Ok(near_end), Ok(far_end)) = (near.try_clone(), far.try_clone()) else { return };
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    lock(&shared.open).insert(connection, [near_end, far_end]);
    // Taken down meanwhile: whoever did that has not seen this one.
    if shared.stopped.load(Ordering::SeqCst) {
        end(shared, connection);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| carry(shared, connection, Way::Request, near, &far));
        carry(shared, connection, Way::Answer, &far, near);
    });
    end(shared, connection);
}

fn end(shared: &Shared, connection: usize) {
    if let Some(ends) = lock(&shared.open).remove(&connection) {
        close(&ends);
    }
}

/// Carries one way of a connection until it ends.
fn carry(shared: &Shared, connection: usize, way: Way, mut from: &TcpStream, mut to: &TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let bytes = match from.read(&mut buffer) {
            // The other way may still have something to say.
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) => &buffer[..count],
            Err(_) => break,
        };
        let before = *lock(&shared.condition);
        let watch = Arc::clone(&lock(&shared.watch));
        match watch(Piece { connection, way, bytes }) {
            Verdict::Pass => {}
            Verdict::Hold if wait_until_let_go(shared, connection, before.let_go) => {}
            Verdict::Hold | Verdict::Cut => break,
        }
        std::thread::sleep(before.delay);
        if slowly(shared, bytes, |part| to.write_all(part)).is_err() {
            break;
        }
    }
    end(shared, connection);
}

/// False when the connection was cut instead.
fn wait_until_let_go(shared: &Shared, connection: usize, before: usize) -> bool {
    let mut condition = lock(&shared.condition);
    loop {
        if condition.let_go != before {
            return true;
        }
        if !lock(&shared.open).contains_key(&connection) {
            return false;
        }
        condition = shared.changed.wait(condition).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Writes a piece as fast as is allowed at present.
fn slowly(
    shared: &Shared,
    mut bytes: &[u8],
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let Some(rate) = lock(&shared.condition).bytes_per_second else { return write(bytes) };
        let rate = rate.max(1);
        // Twenty parts a second, so that it can change its mind.
        let part = usize::try_from(rate / 20).unwrap_or(usize::MAX).clamp(1, bytes.len());
        write(&bytes[..part])?;
        std::thread::sleep(Duration::from_secs_f64(part as f64 / rate as f64));
        bytes = &bytes[part..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{Receiver, until};

    const POST: &[u8] = b"POST /hook HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    const BOUND: Duration = Duration::from_secs(20);

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream
    }

    /// The first bytes of the answer, or nothing if there is none.
    fn call(stream: &mut TcpStream) -> Option<[u8; 12]> {
        stream.write_all(POST).ok()?;
        read(stream)
    }

    fn read(stream: &mut TcpStream) -> Option<[u8; 12]> {
        let mut start = [0; 12];
        stream.read_exact(&mut start).ok().map(|()| start)
    }

    /// Reads what is left of an answer, so that the next one begins at its start.
    fn skip(stream: &mut TcpStream, rest: usize) {
        stream.read_exact(&mut vec![0; rest]).unwrap();
    }

    #[test]
    fn what_is_not_disturbed_passes() {
        let receiver = Receiver::accepting();
        let proxy = Proxy::start(receiver.port());
        let mut stream = connect(&proxy);
        assert_eq!(call(&mut stream), Some(*b"HTTP/1.1 204"));
        skip(&mut stream, " Answer\r\n\r\n".len());
        assert_eq!(call(&mut stream), Some(*b"HTTP/1.1 204"), "on the same connection");
        assert_eq!(receiver.count(), 2);
        // The end of one side reaches the other.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b" Answer\r\n\r\n");
    }

    #[test]
    fn it_cuts_refuses_and_comes_back() {
        let receiver = Receiver::accepting();
        let proxy = Proxy::start(receiver.port());
        let mut stream = connect(&proxy);
        call(&mut stream).unwrap();
        proxy.cut();
        assert!(call(&mut stream).is_none_or(|start| start != *b"HTTP/1.1 204"), "it was cut");
        assert!(call(&mut connect(&proxy)).is_some(), "others may come");
        proxy.down();
        proxy.down();
        assert!(TcpStream::connect(("127.0.0.1", proxy.port())).is_err());
        proxy.up();
        proxy.up();
        assert!(call(&mut connect(&proxy)).is_some());
        assert_eq!(receiver.count(), 3);
    }

    #[test]
    fn a_piece_is_shown_before_it_passes_and_can_be_thrown_away() {
        let receiver = Receiver::accepting();
        let proxy = Proxy::start(receiver.port());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        proxy.watch(move |piece| {
            lock(&kept).push((piece.connection, piece.way, piece.bytes.to_vec()));
            // The answer of the second connection never arrives.
            if piece.connection == 1 && piece.begins("HTTP/1.1 2") { Verdict::Cut } else { Verdict::Pass }
        });
        assert!(call(&mut connect(&proxy)).is_some());
        assert_eq!(call(&mut connect(&proxy)), None);
        assert_eq!(receiver.count(), 2, "the request had arrived");
        let seen = lock(&seen);
        assert_eq!(seen[0], (0, Way::Request, POST.to_vec()));
        assert!(seen[1].1 == Way::Answer && seen[1].2.starts_with(b"HTTP/1.1 204"));
    }

    #[test]
    fn what_is_held_goes_on_when_it_is_let_go_or_ends_when_it_is_cut() {
        let receiver = Receiver::accepting();
        let proxy = Proxy::start(receiver.port());
        proxy.watch(|piece| if piece.way == Way::Request { Verdict::Hold } else { Verdict::Pass });
        let mut stream = connect(&proxy);
        stream.write_all(POST).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!((read(&mut stream), receiver.count()), (None, 0));
        stream.set_read_timeout(Some(BOUND)).unwrap();
        proxy.pass();
        assert_eq!(read(&mut stream), Some(*b"HTTP/1.1 204"));
        assert_eq!(receiver.count(), 1);

        let held = Arc::new(AtomicBool::new(false));
        let holding = Arc::clone(&held);
        proxy.watch(move |_| {
            holding.store(true, Ordering::SeqCst);
            Verdict::Hold
        });
        let mut stream = connect(&proxy);
        stream.write_all(POST).unwrap();
        until("it to be held", BOUND, || held.load(Ordering::SeqCst).then_some(()));
        proxy.cut();
        assert_eq!(read(&mut stream), None);
        assert_eq!(receiver.count(), 1);
    }

    #[test]
    fn it_delays_and_slows_down() {
        let receiver = Receiver::accepting();
        let proxy = Proxy::start(receiver.port());
        let timed = || {
            let begun = Instant::now();
            assert!(call(&mut connect(&proxy)).is_some());
            begun.elapsed()
        };
        proxy.delay(Duration::from_millis(200));
        assert!(timed() >= Duration::from_millis(400), "there and back");
        proxy.delay(Duration::ZERO);
        // 53 bytes there; of the answer, what is waited for.
        proxy.slow_down(Some(100));
        assert!(timed() >= Duration::from_millis(500));
        proxy.slow_down(None);
        assert!(timed() < Duration::from_millis(400), "at full speed again");
    }
}
