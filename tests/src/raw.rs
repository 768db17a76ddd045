//! Bytes over TCP, for requests that no HTTP client would send.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// All bytes until the server closed the connection, or stopped sending for the time allowed.
    pub bytes: Vec<u8>,
}

impl RawAnswer {
    /// The status, if the answer begins with a status line.
    pub fn status(&self) -> Option<u16> {
        let text = std::str::from_utf8(self.bytes.get(..12)?).ok()?;
        text.strip_prefix("HTTP/1.1 ")?.parse().ok()
    }

    /// What follows the head.
    pub fn body(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }
}

/// Sends bytes and reads until the server closes, or is silent for `patience`.
pub fn exchange(port: u16, bytes: &[u8], patience: Duration) -> RawAnswer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(patience)).expect("a timeout can be set");
    stream.set_write_timeout(Some(patience)).expect("a timeout can be set");
    // A server that refuses a request may close before it has been sent: then its answer is what counts.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut part = [0; 8192];
    while let Ok(count @ 1..) = stream.read(&mut part) {
        answer.extend_from_slice(&part[..count]);
        if answer.len() > 1 << 20 {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    RawAnswer { bytes: answer }
}

/// A request with a body, closed afterwards.
pub fn request(method: &str, path: &str, key: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nx-api-key: {key}\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
