//! The load: many connections on one thread, each with its requests ready.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::http::{Answer, Connection, STAMP, find};

/// What a phase has shown.
pub(crate) struct Measured {
    /// Requests answered as they should be, for each of the request templates.
    pub(crate) accepted: Vec<u64>,
    /// Until the last of them was answered.
    pub(crate) took: Duration,
    /// Microseconds from when a request was due until it was answered.
    pub(crate) latency: Histogram<u64>,
    /// All other answers; the first is kept as text.
    pub(crate) failures: u64,
    /// The first failure.
    pub(crate) first_failure: Option<String>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.accepted.iter().sum::<u64>() as f64 / self.took.as_secs_f64()
    }

    fn new(templates: usize) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Measured {
            accepted: vec![0; templates],
            took: Duration::ZERO,
            latency: histogram(),
            failures: 0,
            first_failure: None,
        }))
    }

    /// Counts an answer to a request that was due at a time. False: the connection can't be used any more.
    fn count(
        &mut self,
        answer: io::Result<Answer<'_>>,
        expected: u16,
        template: usize,
        due: Instant,
    ) -> bool {
        let goes_on = answer.is_ok();
        let failure = match answer {
            Ok(answer) if answer.status == expected => {
                self.accepted[template] += 1;
                let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.latency.saturating_record(micros);
                return true;
            }
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)]);
                format!("{}: {body}", answer.status)
            }
            Err(error) => error.to_string(),
        };
        self.failures += 1;
        self.first_failure.get_or_insert(failure);
        goes_on
    }
}

/// A histogram of microseconds, to three digits; what takes longer than ten minutes counts as that.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(600_000_000, 3).expect("these bounds are allowed")
}

/// Microseconds since 1970.
pub(crate) fn now_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(now.as_micros()).expect("microseconds fit until the year 586,000")
}

/// Posts for as long as said: connection after connection takes the templates in turn.
///
/// With a rate, requests have their times, and a latency counts from there, not from when the request could at last be
/// sent: a server that stalls can't hide it from those who would have come meanwhile.
pub(crate) async fn run(
    address: SocketAddr,
    templates: &[Vec<u8>],
    connections: usize,
    length: Duration,
    rate: Option<f64>,
) -> Measured {
    let opened = open(address, connections).await;
    let measured = Measured::new(templates.len());
    let begun = Instant::now();
    let end = begun + length;
    let mut tasks = JoinSet::new();
    for (nth, connection) in opened.into_iter().enumerate() {
        let template = nth % templates.len();
        let pace = rate.map(|rate| Pace {
            next: begun + Duration::from_secs_f64(nth as f64 / rate),
            step: Duration::from_secs_f64(connections as f64 / rate),
        });
        let request = templates[template].clone();
        tasks.spawn_local(drive(connection, request, template, end, pace, Rc::clone(&measured)));
    }
    ended(tasks, measured, begun).await
}

/// Sends each of the requests once, over so many connections. Each is to be answered with this status.
pub(crate) async fn each(
    address: SocketAddr,
    requests: impl Iterator<Item = Vec<u8>> + 'static,
    connections: usize,
    expected: u16,
) -> Measured {
    let opened = open(address, connections).await;
    let measured = Measured::new(1);
    let requests = Rc::new(RefCell::new(requests));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in opened {
        let (measured, requests) = (Rc::clone(&measured), Rc::clone(&requests));
        tasks.spawn_local(async move {
            loop {
                let next = requests.borrow_mut().next();
                let Some(request) = next else { return };
                let due = Instant::now();
                let answer = connection.exchange(&request).await;
                if !measured.borrow_mut().count(answer, expected, 0, due) {
                    return;
                }
            }
        });
    }
    ended(tasks, measured, begun).await
}

async fn open(address: SocketAddr, connections: usize) -> Vec<Connection> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(address).await.expect("the server takes connections"));
    }
    opened
}

async fn ended(mut tasks: JoinSet<()>, measured: Rc<RefCell<Measured>>, begun: Instant) -> Measured {
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a connection's task does not panic");
    }
    let mut measured = Rc::into_inner(measured).expect("every connection has ended").into_inner();
    measured.took = begun.elapsed();
    measured
}

struct Pace {
    next: Instant,
    step: Duration,
}

async fn drive(
    mut connection: Connection,
    mut request: Vec<u8>,
    template: usize,
    end: Instant,
    mut pace: Option<Pace>,
    measured: Rc<RefCell<Measured>>,
) {
    let stamp = find(&request, STAMP.as_bytes());
    loop {
        let due = match &mut pace {
            Some(pace) => {
                let due = pace.next;
                pace.next += pace.step;
                tokio::time::sleep_until(due.into()).await;
                due
            }
            None => Instant::now(),
        };
        if due >= end {
            return;
        }
        if let Some(at) = stamp {
            request[at..at + STAMP.len()].copy_from_slice(format!("{:016}", now_micros()).as_bytes());
        }
        let answer = connection.exchange(&request).await;
        if !measured.borrow_mut().count(answer, 201, template, due) {
            return;
        }
    }
}
