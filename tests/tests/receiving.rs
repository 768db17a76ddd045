//! 200 is never answered for what a kill right after would lose, and never for what the disk has no room for.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;
use tidings_client::testing::{self, SignedPush};
use tidings_client::{Inbox, NotificationDocument};
use tidings_tests::archiver::{Archiver, Options};
use tidings_tests::random::Random;
use tidings_tests::{ports, until};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 8;
const BOUND: Duration = Duration::from_secs(60);

/// An archiver that only pushes can reach: nobody is at its server's address.
fn options(secret: &str) -> Options {
    Options::new(&format!("http://127.0.0.1:{}", ports::free()), "some-key", secret)
}

/// A connection that pushes one after another.
struct Pusher {
    stream: TcpStream,
}

impl Pusher {
    fn connect(archiver: &Archiver) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", archiver.port()))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        Ok(Pusher { stream })
    }

    /// The head of the answer, if there is a whole one.
    fn push(&mut self, push: &SignedPush) -> Option<String> {
        let mut request = b"POST /hook HTTP/1.1\r\nhost: archiver\r\n".to_vec();
        for (name, value) in &push.headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        write!(request, "content-length: {}\r\n\r\n", push.body.len()).unwrap();
        request.extend(&push.body);
        self.stream.write_all(&request).ok()?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        self.stream.read_exact(&mut vec![0; length.parse().unwrap()]).ok()?;
        Some(head)
    }
}

fn document(id: i64, size: usize) -> NotificationDocument {
    let mut document = testing::document(id, "close");
    let data = json!({"padding": "x".repeat(size)}).to_string();
    document.data.attributes.data = Some(serde_json::from_str(&data).unwrap());
    document
}

/// What is in the inbox, asked of the crate in this process.
fn held(archiver: &Archiver) -> BTreeSet<i64> {
    let inbox = Inbox::open(archiver.inbox()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(inbox.held()).unwrap().into_iter().flatten().collect()
}

#[test]
fn what_was_answered_200_is_in_the_inbox_after_a_kill_in_the_middle_of_a_burst() {
    let mut random = Random::seeded("receiving");
    let secret = testing::secret();
    let mut archiver = Archiver::stopped(options(&secret));
    let (next, answered) = (AtomicI64::new(1), Mutex::new(BTreeSet::new()));
    for round in 0..ROUNDS {
        archiver.restart();
        let before = answered.lock().unwrap().len();
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                let mut pusher = Pusher::connect(&archiver).unwrap();
                let (next, answered, secret) = (&next, &answered, &secret);
                scope.spawn(move || {
                    loop {
                        let id = next.fetch_add(1, Ordering::SeqCst);
                        let push = testing::signed_push(secret, &document(id, 200));
                        let Some(head) = pusher.push(&push) else { return };
                        assert!(head.starts_with("http/1.1 200"), "{head}");
                        answered.lock().unwrap().insert(id);
                    }
                });
            }
            until("the burst", BOUND, || {
                (answered.lock().unwrap().len() > before + CONNECTIONS).then_some(())
            });
            std::thread::sleep(Duration::from_millis(random.between(0, 400)));
            archiver.kill9();
        });
        let (answered, held) = (answered.lock().unwrap(), held(&archiver));
        let lost: Vec<_> = answered.difference(&held).collect();
        println!("round {round}: {} answered 200, {} held", answered.len(), held.len());
        assert!(lost.is_empty(), "answered 200 and lost: {lost:?}");
    }

    // What is held is handled in the end, once.
    archiver.restart();
    let held = held(&archiver);
    until("all to be handled", BOUND, || (archiver.effects().len() == held.len()).then_some(()));
    let effects = archiver.effects();
    assert!(effects.values().all(|count| *count == 1));
    assert_eq!(effects.into_keys().collect::<BTreeSet<_>>(), held);
}

#[test]
fn what_the_disk_has_no_room_for_is_answered_503_and_taken_when_there_is_room() {
    let secret = testing::secret();
    let mut archiver = Archiver::start(Options { largest_file: Some(8 << 20), ..options(&secret) });
    let mut pusher = Pusher::connect(&archiver).unwrap();
    let mut push = |id| pusher.push(&testing::signed_push(&secret, &document(id, 50_000))).unwrap();
    let (mut taken, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for id in 1..=400 {
        let head = push(id);
        if head.starts_with("http/1.1 200") {
            taken.insert(id);
        } else {
            assert!(head.starts_with("http/1.1 503"), "{head}");
            assert!(head.contains("retry-after: "), "{head}");
            refused.insert(id);
        }
        if refused.len() == 20 {
            break;
        }
    }
    assert!(taken.len() >= 20 && refused.len() == 20, "{} taken, {} refused", taken.len(), refused.len());
    assert!(archiver.is_alive(), "a full disk has ended it");
    let kept = held(&archiver);
    assert!(taken.is_subset(&kept), "answered 200 and not kept: {:?}", taken.difference(&kept));

    archiver.has_room();
    for id in refused {
        until("it to be taken", BOUND, || push(id).starts_with("http/1.1 200").then_some(()));
        taken.insert(id);
    }
    assert_eq!(held(&archiver), taken);
    let bound = Duration::from_secs(120);
    until("all to be handled", bound, || (archiver.effects().len() == taken.len()).then_some(()));
    assert!(archiver.effects().values().all(|count| *count == 1));
    archiver.kill9();
    archiver.restart();
    assert_eq!(held(&archiver), taken);
}
