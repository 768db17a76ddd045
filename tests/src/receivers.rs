//! Receivers for tests of lanes: some that are sick below HTTP, and one that counts how many requests are under way.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Counts requests that are under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Gauge {
    /// Stays in the request for so long. Call it while the request is answered: before it, nothing of the answer is sent,
    /// so the sender knows of the request for all of this time.
    pub fn hold(&self, pause: Duration) {
        let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(pause);
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }

    /// The most at a time since the last call.
    pub fn most(&self) -> usize {
        self.0.most.swap(self.0.now.load(Ordering::SeqCst), Ordering::SeqCst)
    }
}

/// Accepts connections and reads nothing. Stopped with the value.
pub struct Mute {
    port: u16,
    stopped: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    listening: Option<JoinHandle<()>>,
}

impl Mute {
    /// Starts one.
    pub fn start() -> Self {
        let port = crate::ports::free();
        // Another process may try the same port at this moment to see whether it is free.
        let listener = crate::until("the mute receiver's port to be free", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
        let (stopped, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop, kept) = (stopped.clone(), streams.clone());
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            }
        });
        Mute { port, stopped, streams, listening: Some(listening) }
    }

    /// Where to push to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// How many connections have come.
    pub fn count(&self) -> usize {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_gauge_counts_what_is_under_way() {
        let gauge = Gauge::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| gauge.hold(Duration::from_millis(200)));
            }
        });
        assert_eq!(gauge.most(), 3);
        assert_eq!(gauge.most(), 0);
    }

    #[test]
    fn the_mute_one_takes_a_connection_and_says_nothing() {
        let mute = Mute::start();
        let mut stream = TcpStream::connect(("127.0.0.1", mute.port)).unwrap();
        stream.write_all(b"POST /hook HTTP/1.1\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read(&mut [0; 1]).is_err());
        crate::until("the connection to be kept", crate::wait::SOON, || (mute.count() == 1).then_some(()));
    }
}
