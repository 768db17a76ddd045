//! The whole promise at once: a generator, a server and an archiver in three processes, killed, cut off and slowed down at
//! random, and at the end nothing is missing and nothing is there twice.
//!
//! The generator is the test's own process. It keeps a ledger on disk of every event that was answered 201. The number of
//! kills is fixed and not the time: about a minute for each database. `TIDINGS_TEST_ROUNDS=20` makes it twenty times as
//! long; `TIDINGS_TEST_SEED` repeats the same order of kills, as far as three processes can be repeated.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings_tests::api::id_of;
use tidings_tests::archiver::Archiver;
use tidings_tests::chain::Chain;
use tidings_tests::proxy::{Verdict, Way};
use tidings_tests::random::Random;
use tidings_tests::{Api, Database, Proxy, Server, Tenant, on_both, until};

const SERVER_KILLS: u64 = 80;
const ARCHIVER_KILLS: u64 = 220;
const POSTERS: usize = 4;

/// How many times as long as usual.
fn rounds() -> u64 {
    std::env::var("TIDINGS_TEST_ROUNDS")
        .map_or(1, |text| text.parse().expect("TIDINGS_TEST_ROUNDS is a number"))
}

/// The ids of all events that were accepted, safe from a power cut before the generator goes on.
struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
    count: AtomicUsize,
}

impl Ledger {
    fn new(dir: &Path) -> Self {
        let path = dir.join("ledger");
        let file = Mutex::new(File::create(&path).unwrap());
        Ledger { path, file, count: AtomicUsize::new(0) }
    }

    fn enter(&self, id: u64) {
        let mut file = self.file.lock().unwrap();
        writeln!(file, "{id}").unwrap();
        file.sync_data().unwrap();
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn ids(&self) -> BTreeSet<i64> {
        fs::read_to_string(&self.path).unwrap().lines().map(|line| line.parse().unwrap()).collect()
    }
}

/// Posts until told to stop. What isn't answered is posted again, with the same key, until it is.
fn generate(tenant: &Tenant, ledger: &Ledger, numbers: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let key = format!("event-{number}");
        let event = json!({"data": {"type": "notification", "attributes": {"type": "close", "data": {"number": number}}}});
        let event = event.to_string();
        loop {
            let header = [("idempotency-key", key.as_str())];
            match tenant.producer.try_send("POST", "notifications", &header, Some(event.as_bytes())) {
                Ok(answer) if matches!(answer.status, 200 | 201) => {
                    ledger.enter(id_of(&answer.json()["data"]));
                    break;
                }
                Ok(answer) if answer.status != 503 => panic!("{answer}"),
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        std::thread::sleep(Duration::from_millis(8));
    }
}

/// A time of up to so many milliseconds.
fn pause(random: &Mutex<Random>, most: u64) {
    let time = random.lock().unwrap().between(0, most);
    std::thread::sleep(Duration::from_millis(time));
}

/// The time that a process has: mostly short, now and then long enough for all to run well.
fn life(random: &Mutex<Random>, short: u64, long: u64) {
    let is_long = random.lock().unwrap().between(0, 5) == 0;
    pause(random, if is_long { long } else { short });
}

/// After so many kills a server lives until it has pushed something: on a shared database, where it is another node each
/// time, not before the one that was killed is taken for dead.
const PATIENT: u64 = 20;
/// Longer than archivers are killed on a slow machine: then one lives, and takes them.
const CALM: Duration = Duration::from_secs(300);

fn kill_servers(server: &mut Server, ledger: &Ledger, taken: &AtomicUsize, random: &Mutex<Random>) {
    for nth in 0..SERVER_KILLS * rounds() {
        let before = ledger.count();
        until("the server to take events", Duration::from_secs(60), || {
            (ledger.count() > before).then_some(())
        });
        if nth % PATIENT == 0 {
            let before = taken.load(Ordering::SeqCst);
            until("pushes", CALM, || (taken.load(Ordering::SeqCst) > before + 20).then_some(()));
        }
        life(random, 250, 3_000);
        server.kill9();
        pause(random, 100);
        server.restart();
    }
}

fn kill_archivers(archiver: &mut Archiver, random: &Mutex<Random>) {
    for _ in 0..ARCHIVER_KILLS * rounds() {
        // It need not even have started.
        life(random, 150, 1_500);
        assert!(archiver.is_alive(), "the archiver has ended by itself");
        archiver.kill9();
        pause(random, 50);
        archiver.spawn();
    }
}

/// Cuts the ways, makes them slow and good again, and has the server dismiss what it pushes, or not.
fn disturb(pushes: &Proxy, calls: &Proxy, admin: &Api, random: &Mutex<Random>, stop: &AtomicBool) {
    let number = |from, to| random.lock().unwrap().between(from, to);
    let down = |way: &Proxy, most| {
        way.down();
        pause(random, most);
        way.up();
    };
    while !stop.load(Ordering::SeqCst) {
        let way = if number(0, 2) == 0 { pushes } else { calls };
        match number(0, 8) {
            0 => way.cut(),
            1 => down(pushes, 500),
            // For so long that pushes alone have to carry everything.
            2 => down(calls, 3_000),
            6 => way.delay(Duration::from_millis(number(1, 50))),
            3 => way.slow_down(Some(number(2_000, 100_000))),
            4 => {
                let push = json!({"autoDismiss": number(0, 2) == 0});
                let body = json!({"data": {"type": "externalNotifications", "attributes": {"push": push}}});
                let body = body.to_string();
                // The server may be dead just now.
                let _ = admin.try_send("PATCH", "external-notifications", &[], Some(body.as_bytes()));
            }
            _ => {
                way.delay(Duration::ZERO);
                way.slow_down(None);
            }
        }
        pause(random, 300);
    }
}

fn kill_cut_and_count(database: &Database) {
    let random = &Mutex::new(Random::seeded("ledger"));
    let scratch = tempfile::tempdir_in(tidings_tests::server::beside()).unwrap();
    let (ledger, numbers) = (&Ledger::new(scratch.path()), &AtomicU64::new(0));
    let mut chain = Chain::start(database, false, 1, 15);
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    chain.pushes.watch(move |piece| {
        if piece.way == Way::Answer && piece.begins("HTTP/1.1 200") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Verdict::Pass
    });
    let Chain { server, tenant, archiver, pushes, calls } = &mut chain;
    let (tenant, pushes, calls) = (&*tenant, &*pushes, &*calls);
    let (enough, killed, taken) = (&AtomicBool::new(false), &AtomicBool::new(false), &*taken);
    // A thread that fails must not leave the others running.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..POSTERS {
            scope.spawn(|| generate(tenant, ledger, numbers, enough));
        }
        scope.spawn(|| disturb(pushes, calls, &tenant.admin, random, killed));
        let (_enough, _killed) = (End(enough), End(killed));
        let servers = scope.spawn(|| kill_servers(server, ledger, taken, random));
        let archivers = scope.spawn(|| kill_archivers(archiver, random));
        let ended = [servers.join(), archivers.join()];
        assert!(ended.iter().all(Result::is_ok), "a process could not be killed and started again");
    });
    let accepted = ledger.ids();
    chain.settle(&accepted);
    let by = |source| {
        chain.archiver.count(&format!("SELECT count(*) FROM inbox_notifications WHERE source = {source}"))
    };
    let (accepted, taken, pushed, pulled) = (accepted.len(), taken.load(Ordering::SeqCst), by(0), by(1));
    println!(
        "{accepted} accepted; {taken} pushes taken; {pushed} came first by a push, {pulled} by catching up"
    );
    assert!(pushed > 0 && pulled > 0, "one of the two ways never was the first");
}

on_both! {
    fn whatever_dies_every_accepted_event_is_handled_and_has_its_effect_once(db) {
        kill_cut_and_count(&db);
    }
}
