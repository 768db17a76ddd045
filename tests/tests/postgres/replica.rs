//! A read replica: lists come from it, and nobody can tell, whatever state it is in.

use std::time::{Duration, Instant};

use tidings_tests::{Api, Cluster, Database, Server, Tenant, event, until};

use super::{PATIENCE, at, node};

/// A primary, a standby of it, and two nodes that read from the standby.
struct House {
    primary: Cluster,
    standby: Cluster,
    nodes: [Server; 2],
    tenant: Tenant,
}

impl House {
    fn new() -> Self {
        let primary = Cluster::start("");
        let standby = primary.standby();
        let database = Database::of_cluster(&primary.url());
        let arguments = ["--replica-url", &standby.url()];
        let nodes = [(); 2].map(|()| node(&database, &primary.url(), &arguments));
        let tenant = nodes[0].tenant("replica");
        House { primary, standby, nodes, tenant }
    }

    fn consumers(&self) -> [Api; 2] {
        [self.tenant.consumer.clone(), at(&self.nodes[1], &self.tenant.consumer)]
    }

    /// How many pages of notifications a cluster was asked for.
    fn pages(cluster: &Cluster) -> usize {
        let log = cluster.log("tidings-server");
        let is_page =
            |line: &&String| line.contains("\"notifications\".\"included\"") && line.contains("LIMIT");
        log.iter().filter(is_page).count()
    }

    /// Posts events at one node, and reads each at once at both, by a cursor. Answers how long the slowest list took.
    #[track_caller]
    fn read_what_is_written(&self, rounds: usize) -> Duration {
        let mut slowest = Duration::ZERO;
        let producers = [self.tenant.producer.clone(), at(&self.nodes[1], &self.tenant.producer)];
        for round in 0..rounds {
            let id = producers[round % 2].post_event(&event("close"));
            for consumer in self.consumers() {
                let begun = Instant::now();
                let ids = consumer.ids(&format!("sort=sequence&page[after]={}", id - 1));
                slowest = slowest.max(begun.elapsed());
                assert_eq!(ids, [id], "a list that lacks what was answered before");
            }
            // A flag too.
            self.consumers()[round % 2].set(id, serde_json::json!({"isRead": true})).expect(200);
            for consumer in self.consumers() {
                assert_eq!(consumer.ids("filter[isRead]=false"), [0; 0], "a list of what was true before");
            }
        }
        slowest
    }

    /// Waits until lists are read from this cluster.
    #[track_caller]
    fn is_read(&self, cluster: &Cluster) {
        let before = Self::pages(cluster);
        until("lists to be read from it", PATIENCE, || {
            self.consumers().iter().for_each(|consumer| drop(consumer.ids("")));
            (Self::pages(cluster) > before).then_some(())
        });
    }
}

#[test]
fn lists_are_read_from_the_replica_and_show_what_was_answered() {
    let house = House::new();
    house.is_read(&house.standby);
    house.read_what_is_written(40);
    let before = House::pages(&house.primary);
    let from_replica = House::pages(&house.standby);
    // Nothing is written now, so the replica has everything.
    until("the replica to have everything", PATIENCE, || {
        let position = house.primary.query("SELECT pg_current_wal_flush_lsn()");
        let asked = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        (house.standby.query(&asked) == "t").then_some(())
    });
    house.is_read(&house.standby);
    for _ in 0..20 {
        for consumer in house.consumers() {
            assert!(!consumer.ids("filter[isDismissed]=true,false").is_empty());
        }
    }
    // What else goes on writes a little now and then, and a list that has to wait for it may go to the primary.
    let (primary, replica) =
        (House::pages(&house.primary) - before, House::pages(&house.standby) - from_replica);
    println!("{primary} pages from the primary, {replica} from the replica");
    assert!(replica >= 30 && primary < replica / 2, "{primary} from the primary, {replica} from the replica");
    house.tenant.admin.get("deliveries").expect(200);
    house.tenant.admin.get("jobs").expect(200);
    let log = house.standby.log("tidings-server");
    assert!(!log.iter().any(|line| line.contains("ERROR") || line.contains("read-only")), "{log:?}");
}

#[test]
fn one_that_lags_is_not_read_from_and_holds_nobody_up() {
    let house = House::new();
    house.is_read(&house.standby);
    house.standby.query("SELECT pg_wal_replay_pause()");
    let before = House::pages(&house.standby);
    let slowest = house.read_what_is_written(20);
    assert_eq!(House::pages(&house.standby), before, "a list was read from a replica that lags");
    assert!(slowest < Duration::from_secs(2), "a list took {slowest:?}");
    house.standby.query("SELECT pg_wal_replay_resume()");
    house.is_read(&house.standby);
    house.read_what_is_written(5);
}

#[test]
fn one_that_is_down_or_frozen_or_promoted_is_done_without() {
    let mut house = House::new();
    house.is_read(&house.standby);
    house.standby.kill();
    let slowest = house.read_what_is_written(10);
    assert!(slowest < Duration::from_secs(2), "a list took {slowest:?} while the replica was down");
    // A node starts without it.
    house.nodes[1].kill9();
    house.nodes[1].restart();
    house.read_what_is_written(3);
    house.standby.resume();
    house.is_read(&house.standby);

    house.standby.freeze(true);
    let slowest = house.read_what_is_written(10);
    assert!(slowest < Duration::from_secs(2), "a list took {slowest:?} while the replica was frozen");
    house.standby.freeze(false);
    house.is_read(&house.standby);

    house.standby.promote();
    let before = House::pages(&house.standby);
    house.read_what_is_written(10);
    assert_eq!(House::pages(&house.standby), before, "a list was read from another primary");
}

#[test]
fn sessions_that_the_replica_ends_are_no_reader_s_concern() {
    let house = House::new();
    house.is_read(&house.standby);
    house.read_what_is_written(3);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                let ours = "FROM pg_stat_activity WHERE application_name = 'tidings-server'";
                house.standby.query(&format!("SELECT count(pg_terminate_backend(pid)) {ours}"));
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            for consumer in house.consumers() {
                assert_eq!(consumer.ids("sort=sequence"), [1, 2, 3]);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    house.is_read(&house.standby);
}
