//! Whoever watches sees all nodes, and what each has.

use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::nodes::Incident;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Kind, Nodes, Server, Witness, event, until};

use super::{fixed, post, push};

/// The value of a metric without labels.
fn metric(server: &Server, name: &str) -> i64 {
    let text = server.anonymous().get("/metrics").text;
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn list(health: &Value) -> &Vec<Value> {
    health["nodes"].as_array().unwrap()
}

#[test]
fn health_and_metrics_tell_of_all_nodes_and_what_each_has() {
    let mut nodes = Nodes::start(3);
    let tenant = nodes.tenant("nobody's business");
    let witness = Witness::start(|_, _| (Duration::from_secs(2), 204));
    push(&tenant, &witness.url(), json!({"maxConcurrency": 2, "retry": fixed(1, 100)}));
    post(&tenant.producer, 20);
    let owner = nodes.wait_for_owner(&tenant);
    let health = until("the owner to tell of its lane", SOON, || {
        let health = nodes.list[1].health();
        let owner = list(&health).iter().find(|node| node["id"].as_str() == nodes.list[owner].id())?.clone();
        (owner["lanes"] == 1 && owner["leases"].as_i64()? >= 2).then_some(health)
    });
    assert_eq!((&health["status"], &health["database"]), (&json!("ok"), &json!("ok")));
    assert_eq!(list(&health).len(), 3);
    for (node, started) in list(&health).iter().zip(&nodes.list) {
        assert_eq!(node["id"].as_str(), started.id(), "in the order of their start");
        assert_eq!(node["isThisOne"], started.id() == nodes.list[1].id());
        let name = node["name"].as_str().unwrap();
        assert!(name.ends_with(&format!(":{}", started.server.port())), "{name}");
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert!(node["startedAt"].as_str().unwrap().ends_with('Z'), "{node}");
        assert!(node["seenAgoMs"].as_u64().unwrap() < 8_000, "{node}");
    }
    let others: Vec<&Value> =
        list(&health).iter().filter(|node| node["id"].as_str() != nodes.list[owner].id()).collect();
    assert!(
        others.iter().all(|node| (&node["lanes"], &node["leases"]) == (&json!(0), &json!(0))),
        "{others:?}"
    );
    let text = health.to_string();
    assert!(!text.contains(&tenant.id) && !text.contains("nobody"), "{text}");
    for (index, node) in nodes.list.iter().enumerate() {
        assert_eq!(metric(&node.server, "tidings_nodes"), 3);
        assert_eq!(metric(&node.server, "tidings_lanes"), i64::from(index == owner));
        assert_eq!(metric(&node.server, "tidings_leases") > 0, index == owner);
    }

    // Without the database it tells what it knew, and how old that is.
    nodes.list[1].suffer(Incident::CutOff);
    let known = until("it to tell that the database is gone", SOON, || {
        let health = nodes.list[1].health();
        (health["database"] != "ok").then_some(health)
    });
    assert_eq!(known["database"], "the database doesn't answer");
    assert_eq!(list(&known).len(), 3);
    until("what it knew to grow old", SOON, || {
        let health = nodes.list[1].health();
        list(&health).iter().all(|node| node["seenAgoMs"].as_u64().unwrap() > 8_000).then_some(())
    });
    assert_eq!(metric(&nodes.list[1].server, "tidings_nodes"), 0, "it knows of none that is alive");
    nodes.list[1].recover(Incident::CutOff);
    until("all three again", SOON, || (metric(&nodes.list[1].server, "tidings_nodes") == 3).then_some(()));

    // One that has died is gone, one that has stopped is gone at once.
    nodes.list[2].suffer(Incident::Killed);
    until("two", SOON, || (list(&nodes.list[0].health()).len() == 2).then_some(()));
    assert!(nodes.list[1].server.term().success());
    until("one", Duration::from_secs(4), || (list(&nodes.list[0].health()).len() == 1).then_some(()));
}

#[test]
fn on_sqlite_there_is_one_node_and_its_lanes_are_counted_too() {
    let database = Database::new(Kind::Sqlite);
    let server = Server::start(&database);
    let plain = server.anonymous().get("/healthz").expect(200);
    assert_eq!(plain, json!({"status": "ok"}), "nothing more unless it is asked for");
    for path in ["/healthz?verbose", "/healthz?verbose=true", "/healthz?a=b&verbose="] {
        let health = server.anonymous().get(path).expect(200);
        assert_eq!(list(&health).len(), 1, "{path}");
        assert_eq!(health["nodes"][0]["isThisOne"], true, "{path}");
    }
    let tenant = server.tenant("one");
    let witness = Witness::start(|_, _| (Duration::from_secs(1), 204));
    push(&tenant, &witness.url(), json!({"maxConcurrency": 1}));
    tenant.producer.post_event(&event("close"));
    until("a lane", SOON, || (metric(&server, "tidings_lanes") == 1).then_some(()));
    assert_eq!((metric(&server, "tidings_nodes"), metric(&server, "tidings_leases")), (1, 1));
}
