//! Behind pgbouncer, which gives connections out by the transaction: no session belongs to anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tidings_tests::api::id_of;
use tidings_tests::database::psql_at;
use tidings_tests::{Api, Cluster, Database, Pooler, Receiver, Reply, event, until};

use super::{Load, PATIENCE, at, node, through};

/// Connections to the database, for two nodes that have a dozen each.
const CONNECTIONS: usize = 4;

/// What a session must not have kept.
const KEPT: &str = "SELECT pg_backend_pid() || ' ' || current_setting('statement_timeout') || ' ' \
     || current_setting('lock_timeout') || ' ' || current_setting('idle_in_transaction_session_timeout') || ' ' \
     || current_setting('default_transaction_read_only') || ' ' || current_setting('enable_sort') || ' ' \
     || (SELECT count(*) FROM pg_prepared_statements) || ' ' \
     || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') FROM pg_sleep(0.5)";

/// The database's sessions behind the pooler, by their process, each with what it has kept.
fn sessions(pooler: &Pooler) -> BTreeSet<String> {
    let asked: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let url = pooler.url();
            std::thread::spawn(move || psql_at(&url, KEPT))
        })
        .collect();
    asked.into_iter().map(|session| session.join().unwrap()).collect()
}

fn job(admin: &Api, attributes: serde_json::Value) -> serde_json::Value {
    let body = json!({"data": {"type": "job", "attributes": attributes}});
    let id = admin.post("jobs", &body).expect(202)["data"]["id"].as_str().unwrap().to_owned();
    until("a job to be done", PATIENCE, || {
        let job = admin.get(&format!("jobs/{id}")).expect(200)["data"]["attributes"].clone();
        job["endedAt"].is_string().then_some(job)
    })
}

#[test]
fn two_nodes_share_four_connections_and_leave_nothing_behind_in_them() {
    let cluster = Cluster::start("");
    let pooler = Pooler::start(&cluster, CONNECTIONS);
    let database = Database::of_cluster(&pooler.url());
    // One is told of the pooler, the other finds out.
    let mut first = node(&database, &format!("{}?pgbouncer=true", pooler.url()), &[]);
    let mut second = node(&database, &pooler.url(), &[]);
    assert!(second.log().contains("a connection pooler is in between"), "{}", second.log());

    let tenant = first.tenant("pooled");
    let receiver = Receiver::start(|request, nth| {
        let first = request.header("tidings-attempt") == "1";
        Reply::Status(if first && nth % 5 == 0 { 500 } else { 204 })
    });
    tenant.push_to(&receiver.url(), false);
    let quiet = second.tenant("quiet");
    let load = Load::start(&[tenant.producer.clone(), at(&second, &tenant.producer)], 8);
    load.goes_on(100);
    // Whoever reads meanwhile sees what was stored, at whichever node.
    for (client, id) in [(at(&second, &quiet.consumer), 1), (at(&first, &quiet.consumer), 2)] {
        assert_eq!(quiet.producer.post_event(&event("print")), id);
        assert_eq!(client.ids("sort=sequence&page[after]=0"), through(id).into_iter().collect::<Vec<_>>());
    }
    first.kill9();
    load.goes_on(100);
    first.restart();
    load.goes_on(50);
    let last = load.finish(&at(&second, &tenant.consumer));

    receiver.wait_until("every notification to be pushed", PATIENCE, |requests| {
        requests.iter().map(tidings_tests::Request::sequence).collect::<BTreeSet<_>>() == through(last)
    });
    let admin = at(&second, &tenant.admin);
    until("every push to be recorded", PATIENCE, || {
        let page = admin.get("deliveries?filter[status]=pending,error").expect(200);
        page["data"].as_array().unwrap().is_empty().then_some(())
    });
    let page = admin.get("deliveries?sort=-lastProcessedAt&page[size]=10").expect(200);
    let newest = id_of(&page["data"][0]);
    let attempts = tenant.admin.get(&format!("deliveries/{newest}/attempts")).expect(200);
    let last_attempt = attempts["data"].as_array().unwrap().last().unwrap();
    assert_eq!(last_attempt["attributes"]["responseStatus"], 204, "{attempts}");
    let done = job(
        &admin,
        json!({"action": "update", "set": {"isRead": true}, "filter": {"filter[isRead]": "false", "filter[isDismissed]": "true,false"}, "upTo": last.to_string()}),
    );
    assert_eq!(done["processed"], last, "{done}");
    assert!(tenant.consumer.ids("filter[isRead]=false&page[size]=10").is_empty());

    assert!(first.term().success() && second.term().success());
    let mut pids = BTreeSet::new();
    // All at once, so that each gets a session of its own; again where one of them was quicker than the others.
    until("a look at every session", Duration::from_secs(30), || {
        for session in sessions(&pooler) {
            let (pid, kept) = session.split_once(' ').unwrap();
            assert_eq!(kept, "0 0 0 off on 0 0", "what the session of process {pid} has kept");
            pids.insert(pid.to_owned());
        }
        (pids.len() >= CONNECTIONS).then_some(())
    });
    let log = cluster.log("tidings-server");
    assert!(
        log.iter().any(|line| line.contains("SET LOCAL statement_timeout")),
        "the statements are in the log"
    );
    for line in &log {
        assert!(!line.contains("__diesel_stmt"), "a statement was prepared under a name: {line}");
        let for_session = line.starts_with("statement: SET ") && !line.starts_with("statement: SET LOCAL");
        let is_ours = ["timeout", "read_only", "enable_"].iter().any(|setting| line.contains(setting));
        assert!(!(for_session && is_ours), "a session was given a setting: {line}");
    }
}

#[test]
fn without_a_pooler_statements_are_prepared_once() {
    let cluster = Cluster::start("");
    let database = Database::of_cluster(&cluster.url());
    let server = node(&database, &cluster.url(), &[]);
    assert!(!server.log().contains("a connection pooler is in between"), "{}", server.log());
    let tenant = server.tenant("direct");
    assert_eq!(tenant.producer.post_event(&event("close")), 1);
    let log = cluster.log("tidings-server");
    assert!(log.iter().any(|line| line.starts_with("execute __diesel_stmt")), "{log:?}");
}
