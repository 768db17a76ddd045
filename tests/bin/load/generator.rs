//! The load: many connections on one thread, each with its requests ready.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::http::{Connection, STAMP, find};

/// What a phase has shown.
pub(crate) struct Measured {
    /// Requests answered with 201, for each of the request templates.
    pub(crate) accepted: Vec<u64>,
    /// Until the last of them was answered.
    pub(crate) took: Duration,
    /// Microseconds from when a request was due until it was answered.
    pub(crate) latency: Histogram<u64>,
    /// Anything but a 201; the first is kept as text.
    pub(crate) failures: u64,
    /// The first failure.
    pub(crate) first_failure: Option<String>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.accepted.iter().sum::<u64>() as f64 / self.took.as_secs_f64()
    }

    fn fail(&mut self, what: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(what);
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
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(address).await.expect("the server takes connections"));
    }
    let measured = Rc::new(RefCell::new(Measured {
        accepted: vec![0; templates.len()],
        took: Duration::ZERO,
        latency: histogram(),
        failures: 0,
        first_failure: None,
    }));
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
    while tasks.join_next().await.is_some() {}
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
        let mut measured = measured.borrow_mut();
        match answer {
            Ok(answer) if answer.status == 201 => {
                measured.accepted[template] += 1;
                let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                measured.latency.saturating_record(micros);
            }
            Ok(answer) => {
                let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)]).into_owned();
                measured.fail(format!("{}: {body}", answer.status));
            }
            Err(error) => {
                measured.fail(error.to_string());
                return;
            }
        }
    }
}
