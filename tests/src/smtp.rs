//! A mail server in the test's own process that keeps what it is given.
//!
//! As little of SMTP as it takes to be given mail: no TLS, one recipient or more, any user and password.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A mail as it came.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Whom it is for.
    pub to: Vec<String>,
    /// How its sender logged in, as it stood behind `AUTH`; empty if it didn't.
    pub login: String,
    /// Head and body.
    pub data: String,
}

impl Mail {
    /// The values of a header, unfolded.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let head = self.data.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n ", " ");
        let named = head.lines().filter_map(|line| line.split_once(": "));
        named.filter(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }

    /// The subject.
    pub fn subject(&self) -> String {
        self.headers("subject").concat()
    }

    /// The body, decoded if it is quoted-printable.
    pub fn text(&self) -> String {
        let body = self.data.split_once("\r\n\r\n").map_or("", |(_, body)| body).replace("=\r\n", "");
        let mut bytes = Vec::new();
        let mut rest = body.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'=') {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[derive(Default)]
struct Shared {
    mails: Mutex<Vec<Mail>>,
    refuses: AtomicBool,
    stopped: AtomicBool,
}

/// A mail server on a port of its own. Stopped with the value.
pub struct Smtp {
    port: u16,
    shared: Arc<Shared>,
}

impl Smtp {
    /// Starts one.
    pub fn start() -> Self {
        let port = crate::ports::free();
        // Another process may try the same port at this moment to see whether it is free.
        let listener = crate::until("the mail server's port to be free", Duration::from_secs(10), || {
            TcpListener::bind(("127.0.0.1", port)).ok()
        });
        let shared = Arc::new(Shared::default());
        let server = Smtp { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || converse(&shared, &stream));
            }
        });
        server
    }

    /// What goes behind `--smtp-url`, with this user and password.
    pub fn url(&self, login: &str) -> String {
        format!("smtp://{login}@127.0.0.1:{}", self.port)
    }

    /// Whether mails are refused from now on.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Every mail so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for at least so many mails, and gives all that have come.
    #[track_caller]
    pub fn wait_for(&self, count: usize, bound: Duration) -> Vec<Mail> {
        crate::until(&format!("{count} mails"), bound, || {
            Some(self.mails()).filter(|mails| mails.len() >= count)
        })
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Serves one connection until it ends.
fn converse(shared: &Shared, stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut lines = BufReader::new(stream).lines();
    let say = |answer: &str| (&mut &*stream).write_all(format!("{answer}\r\n").as_bytes()).is_ok();
    let mut mail = Mail { to: Vec::new(), login: String::new(), data: String::new() };
    let mut going = say("220 test");
    while going && let Some(Ok(line)) = lines.next() {
        let (command, rest) = line.split_at(line.len().min(4));
        going = match command {
            "EHLO" => say("250-test\r\n250 AUTH PLAIN"),
            "AUTH" => {
                mail.login = rest.trim().to_owned();
                say("235 ok")
            }
            "RCPT" if shared.refuses.load(Ordering::SeqCst) => say("550 not here"),
            "RCPT" => {
                mail.to.push(rest.to_owned());
                say("250 ok")
            }
            "DATA" => {
                let going = say("354 go on");
                let data = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".");
                mail.data = data.fold(String::new(), |data, line| data + &line + "\r\n");
                shared.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail.clone());
                going && say("250 ok")
            }
            "QUIT" => {
                let _ = say("221 bye");
                false
            }
            _ => say("250 ok"),
        };
    }
    let _ = stream.shutdown(Shutdown::Both);
}
