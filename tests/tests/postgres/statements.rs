//! Every statement names its tenant, or is a scan in the background that can run shard by shard.
//!
//! This is what lets the schema be distributed by tenant: what is proved here over the statements that PostgreSQL itself
//! has logged, `docs/citus.md` builds upon.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use tidings_server::retention;
use tidings_server::store::Store;
use tidings_tests::server::command;
use tidings_tests::{Cluster, Database, Receiver, Reply, Server, Tenant, event, program, until};

use super::{PATIENCE, at, node};

/// The tables whose rows are a tenant's, and the column that says whose.
const TABLES: [(&str, &str); 10] = [
    ("tenants", "id"),
    ("positions", "tenant_id"),
    ("api_keys", "tenant_id"),
    ("notifications", "tenant_id"),
    ("states", "tenant_id"),
    ("resources", "tenant_id"),
    ("attempts", "tenant_id"),
    ("jobs", "tenant_id"),
    ("alert_states", "tenant_id"),
    ("alerts", "tenant_id"),
];

/// What names no tenant: how it is known, and why it may be so.
const SCANS: [(&str, &str); 19] = [
    ("% 1 = 0", "which tenants have something due: an index seek for each, now and then"),
    (
        "states.owner !=all select nodes.id",
        "frees the leases of nodes that are gone: all that waits is looked through",
    ),
    ("where push_state = 1 and states.due_at = $ and states.owner = $", "the same for one node"),
    ("select distinct jobs.tenant_id from jobs where state < 2", "which tenants have a job to do"),
    ("select jobs.tenant_id, jobs.id from jobs where jobs.ended_at < $", "which jobs ended long ago"),
    ("from alerts where alerts.due_at <= $", "which alerts are due"),
    ("delete from alerts where alerts.at < $", "removes alerts that were told long ago"),
    (
        "from alert_states inner join positions on positions.tenant_id = alert_states.tenant_id",
        "which states are raised",
    ),
    (
        "delete from alert_states where alert_states.tenant_id !=all",
        "removes the states of tenants that are gone",
    ),
    ("from api_keys where api_keys.hash = $", "whose a key is: nobody knows before; remembered in memory"),
    ("from tenants where tenants.public_id = $", "whose a public id is, for the operator"),
    ("from tenants where tenants.id > $", "the list of all tenants, for the operator and retention"),
    ("from tenants where tenants.deleted_at is not null", "which tenants are to be swept away"),
    ("from tenants where tenants.tells_of_backlog and", "which tenants want to be told of a backlog"),
    (
        "select min tenant_id from states where push_state = 1 ,",
        "which tenants have something to push, for the operator who asks: at most 1,000, an index seek for each",
    ),
    (
        "select min tenant_id from states where push_state = 3 ,",
        "which tenants have something that was given up, for the operator who asks, in the same way",
    ),
    (
        "from tenants where push_stopped is not null",
        "which tenants are stopped, for the operator who asks: at most 1,000",
    ),
    (
        "select positions.tenant_id from positions limit",
        "how many tenants there are, for the operator: up to 100,000",
    ),
    ("insert into tenants", "a new tenant, whose number is given out by the statement"),
];

/// A statement without what doesn't matter: quotes, brackets, the numbers of its parameters and spaces.
fn plain(statement: &str) -> String {
    let mut text = String::new();
    let mut in_parameter = false;
    for letter in statement.to_lowercase().replace("!= all", "!=all").chars() {
        in_parameter = letter == '$' || in_parameter && letter.is_ascii_digit();
        match letter {
            '"' => {}
            '(' | ')' => text.push(' '),
            '0'..='9' if in_parameter => {}
            other => text.push(other),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The statement in a line of the log, if there is one.
fn statement(line: &str) -> Option<&str> {
    let (kind, statement) = line.split_once(": ")?;
    (kind == "statement" || kind.starts_with("execute ")).then_some(statement)
}

/// Which of the tables a plain statement is about, and which of them it doesn't name the tenant for: by a value, or by a
/// join with one that is named by a value.
fn unnamed(statement: &str) -> (usize, Vec<&'static str>) {
    let words: Vec<&str> = statement.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let is_about = |table: &str| {
        let named = |pair: &[&str]| ["from", "join", "update", "into"].contains(&pair[0]) && pair[1] == table;
        let is_column = |word: &&str| word.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        words.windows(2).any(named) || words.iter().any(is_column)
    };
    let about: Vec<_> = TABLES.into_iter().filter(|(table, _)| is_about(table)).collect();
    let is_inserted = |(table, column): (&str, &str)| {
        let inserted = statement.split_once(&format!("insert into {table} "));
        inserted.is_some_and(|(_, columns)| columns.split([' ', ',']).next() == Some(column))
    };
    // `new` is what arrays were sent for.
    let is_value = |word: &str| {
        word.starts_with(['$', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
            || word == "any"
            || word.starts_with("new.")
    };
    let is_tenant = |word: &str| word == "tenants.id" || word == "tenant_id" || word.ends_with(".tenant_id");
    let has_value = words
        .windows(3)
        .any(|three| is_tenant(three[0]) && ["=", "in"].contains(&three[1]) && is_value(three[2]));
    if !has_value && !about.iter().any(|table| is_inserted(*table)) {
        return (about.len(), about.iter().map(|(table, _)| *table).collect());
    }
    let missing = about.iter().filter(|(table, column)| {
        let full = format!("{table}.{column}");
        let is_bound = |name: &str| {
            words.windows(2).any(|pair| pair[0] == name && ["=", "in"].contains(&pair[1]))
                || words.windows(2).any(|pair| pair[0] == "=" && pair[1] == name)
        };
        let is_alone = about.len() == 1 && *column == "tenant_id" && is_bound(column);
        // In a query inside another, where it needs no name of its table.
        let is_inner = statement.contains(&format!("from {table} where {column} = "));
        !(is_alone || is_inner || is_bound(&full) || is_inserted((table, column)))
    });
    (about.len(), missing.map(|(table, _)| *table).collect())
}

/// Everything that a server is asked for, and everything that it does by itself.
fn use_everything(cluster: &Cluster) {
    let database = Database::of_cluster(&cluster.url());
    let mut first = node(&database, &cluster.url(), &[]);
    let mut second = node(&database, &cluster.url(), &[]);
    let tenant = first.tenant("everything");
    let receiver = Receiver::start(|request, nth| match request.header("tidings-attempt") {
        "1" if nth % 3 == 0 => Reply::Status(500),
        "1" if nth % 7 == 0 => Reply::Status(400),
        _ => Reply::Status(204),
    });
    let alerts = json!({"url": receiver.url(), "backlogAgeSeconds": 60});
    tenant.admin.settings(json!({"alerts": alerts})).expect(200);
    tenant.push_to(&receiver.url(), false);
    let mut whole = event("close");
    whole["data"]["relationships"] = json!({"createdBy": {"data": {"type": "user", "id": "100"}},
        "entity": {"data": {"type": "entity", "id": "experiment:1"}}});
    whole["included"] = json!([{"type": "user", "id": "100", "attributes": {"userName": "ann"}}]);
    for number in 0..40 {
        let key = format!("key-{}", number / 2);
        let body = whole.to_string();
        tenant.producer.send("POST", "notifications", &[("idempotency-key", &key)], Some(body.as_bytes()));
        at(&second, &tenant.producer).post_event(&event("print"));
    }
    tenant.wait_for_state(60, "delivered");
    read(&tenant);
    let add = json!({"op": "add", "data": event("close")["data"]});
    let flags = json!({"op": "update", "data": {"type": "notification", "id": "3", "attributes": {"isFlagged": true}}});
    tenant.admin.post("operations", &json!({"atomic:operations": [add, flags]})).expect(200);
    tenant.consumer.set(1, json!({"isRead": true})).expect(200);
    job(
        &tenant,
        json!({"action": "update", "set": {"isRead": true}, "filter": {"filter[isRead]": "false"}, "upTo": "30"}),
    );
    job(&tenant, json!({"action": "repush", "filter": {"filter[status]": "complete"}, "upTo": "30"}));
    job(
        &tenant,
        json!({"action": "repush", "filter": {"filter[push]": "delivered"}, "upTo": "30", "dryRun": true}),
    );
    let ids = job(&tenant, json!({"action": "update", "set": {"isDismissed": true}, "ids": ["1", "2"]}));
    tenant.admin.get(&format!("jobs/{ids}")).expect(200);
    tenant.admin.send("DELETE", &format!("jobs/{ids}"), &[], None);

    // Strict order, held up; then stopped by 410 and put on again.
    let strict = first.tenant("strict");
    let refusing = Receiver::start(|_, nth| Reply::Status(if nth < 4 { 500 } else { 410 }));
    strict.push_to(&refusing.url(), true);
    strict
        .admin
        .settings(json!({"alerts": {"url": receiver.url()}, "push": {"ordering": "fifo"}}))
        .expect(200);
    for _ in 0..5 {
        strict.producer.post_event(&event("sign"));
    }
    until("the push to be stopped", PATIENCE, || {
        let settings = strict.admin.get("external-notifications").expect(200);
        settings.to_string().contains("410").then_some(())
    });
    strict
        .admin
        .settings(json!({"push": {"url": receiver.url(), "enabled": true, "resume": "backlog"}}))
        .expect(200);
    strict.wait_for_state(5, "delivered");
    strict.admin.post("external-notifications/test", &json!({})).expect(200);
    operate(&first);

    // A node whose writing is cut off gives up what it had leased.
    let sessions = "FROM pg_stat_activity WHERE application_name = 'tidings-server'";
    cluster.query(&format!("SELECT count(pg_terminate_backend(pid)) {sessions}"));
    let body = event("print").to_string();
    until("the nodes to come back", PATIENCE, || {
        let nodes = [tenant.producer.clone(), at(&second, &tenant.producer)];
        let posted = nodes.map(|node| node.send("POST", "notifications", &[], Some(body.as_bytes())).status);
        (posted == [201, 201]).then_some(())
    });
    second.kill9();
    let nodes = "SELECT count(*) FROM nodes";
    until("the dead node to be found", PATIENCE, || (cluster.query(nodes) == "1").then_some(()));
    sweep(&database);
    for arguments in
        [vec!["tenant", "list"], vec!["tenant", "create", "by hand"], vec!["key", "list", &tenant.id]]
    {
        let mut command = command();
        command.args(["--database-url", &cluster.url()]).args(&arguments);
        command.env("TIDINGS_SECRET_KEY", tidings_tests::server::secret_key(&database));
        assert!(program::ended(command).status.success(), "{arguments:?}");
    }
    assert!(first.term().success());
}

fn job(tenant: &Tenant, attributes: serde_json::Value) -> String {
    let body = json!({"data": {"type": "job", "attributes": attributes}});
    let id = tenant.admin.post("jobs", &body).expect(202)["data"]["id"].as_str().unwrap().to_owned();
    until("a job to be done", PATIENCE, || {
        let job = tenant.admin.get(&format!("jobs/{id}")).expect(200);
        job["data"]["attributes"]["endedAt"].is_string().then_some(())
    });
    id
}

/// All lists, each way.
fn read(tenant: &Tenant) {
    let long_ago = "2020-01-01T00:00:00Z";
    for query in [
        "sort=sequence&page[after]=0&page[size]=5",
        "sort=sequence&page[before]=9&page[size]=5",
        "sort=-createdAt&page[size]=5&filter[isDismissed]=true,false",
        "sort=createdAt&filter[type]=close,print&filter[isRead]=false&filter[isFlagged]=false",
        "filter[entity]=experiment:1&filter[createdBy]=100&filter[push]=delivered,failed",
        &format!("filter[createdAt][ge]={long_ago}&status=notdismissed&page[limit]=3&page[offset]=2"),
    ] {
        tenant.consumer.get(&format!("notifications?{query}")).expect(200);
    }
    tenant.consumer.get("notifications/1").expect(200);
    tenant.consumer.get("users/100").expect(200);
    tenant.consumer.get("entities/experiment:1");
    for sort in [
        "id",
        "eventType",
        "eventTime",
        "lastProcessedAt",
        "status",
        "retries",
        "errorMessage",
        "responseStatus",
        "nextAttemptAt",
    ] {
        for filter in ["", "&filter[status]=complete", "&filter[eventType]=close", "&filter[retries]=0"] {
            tenant.admin.get(&format!("deliveries?sort=-{sort}&page[size]=3{filter}")).expect(200);
        }
    }
    tenant
        .admin
        .get(&format!("deliveries?filter[lastProcessedAt][ge]={long_ago}&filter[eventTime][ge]={long_ago}"))
        .expect(200);
    tenant.admin.get("deliveries/1").expect(200);
    tenant.admin.get("deliveries/1/attempts").expect(200);
    tenant.admin.get("jobs?page[size]=1").expect(200);
    tenant.admin.get("external-notifications").expect(200);
    tenant.consumer.get("statistics").expect(200);
    tenant.consumer.get("api-key").expect(200);
}

/// What the operator does.
fn operate(server: &Server) {
    let operator = server.operator();
    let gone = server.tenant("gone");
    gone.producer.post_event(&event("close"));
    operator.get("tenants?page[size]=1").expect(200);
    operator.get("overview").expect(200);
    let path = format!("tenants/{}", gone.id);
    operator.get(&path).expect(200);
    let rename = json!({"data": {"type": "tenant", "id": gone.id, "attributes": {"name": "leaving"}}});
    operator.patch(&path, &rename).expect(200);
    let keys = operator.get(&format!("{path}/api-keys")).expect(200);
    let key = keys["data"][0]["id"].as_str().unwrap();
    operator.delete(&format!("{path}/api-keys/{key}"));
    assert!(operator.delete(&path).status < 300);
}

/// Retention, as if it were next year.
fn sweep(database: &Database) {
    let store = Store::open(&database.url().parse().unwrap(), &Arc::default(), 1).unwrap().store;
    let (_going_on, stopping) = tokio::sync::watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let next_year = i64::try_from(now).unwrap() + 365 * 86_400_000_000;
    assert!(runtime.block_on(retention::sweep(&store, next_year, &stopping)).unwrap() > 0);
}

#[test]
fn every_statement_names_its_tenant_or_is_a_scan_that_is_known() {
    let cluster = Cluster::start("");
    use_everything(&cluster);
    let log = cluster.log("tidings-server");
    let statements: BTreeSet<String> = log.iter().filter_map(|line| statement(line)).map(plain).collect();
    // Migrations are about all rows by nature.
    let statements =
        statements.iter().filter(|text| !text.contains("create table") && !text.contains("alter table"));
    let (mut named, mut known, mut wrong) = (0, BTreeSet::new(), Vec::new());
    for statement in statements {
        let (about, missing) = unnamed(statement);
        let scan = SCANS.iter().position(|(part, _)| statement.contains(part));
        match (missing.is_empty(), scan) {
            (true, _) if about == 0 => {}
            (true, _) => named += 1,
            (false, Some(scan)) => drop(known.insert(scan)),
            (false, None) => wrong.push(format!("{missing:?}: {statement}")),
        }
    }
    assert!(wrong.is_empty(), "these name no tenant:\n{}", wrong.join("\n"));
    println!("{named} different statements name their tenant, {} are scans", known.len());
    assert!(named > 100, "only {named} statements were seen");
    let unseen: Vec<&str> =
        SCANS.iter().enumerate().filter(|(at, _)| !known.contains(at)).map(|(_, (part, _))| *part).collect();
    assert!(unseen.is_empty(), "nobody sends these any more: {unseen:?}");
}

/// Unique indexes of tenants' tables that don't begin with the tenant.
const WITHOUT_TENANT: &str = "SELECT coalesce(string_agg(index.relname, ' ' ORDER BY index.relname), '') FROM pg_index \
    JOIN pg_class AS index ON index.oid = indexrelid JOIN pg_class AS owner ON owner.oid = indrelid \
    JOIN pg_attribute AS first ON attrelid = indrelid AND attnum = indkey[0] \
    WHERE owner.relnamespace = 'public'::regnamespace AND indisunique \
    AND owner.relname NOT IN ('nodes', 'instance', '__diesel_schema_migrations') \
    AND attname <> CASE owner.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END";

#[test]
fn the_schema_can_be_distributed_as_the_guide_says() {
    let cluster = Cluster::start("");
    let mut migrate = command();
    migrate.args(["migrate", "--database-url", &cluster.url()]);
    assert!(program::ended(migrate).status.success());
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/citus.md")).unwrap();
    let tables = cluster
        .query("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace");
    for table in tables.lines() {
        let column = TABLES.iter().find(|(name, _)| *name == table).map(|(_, column)| *column);
        let call = match column {
            Some(column) => format!("create_distributed_table('{table}', '{column}'"),
            None => format!("`{table}`").replace("`nodes`", "create_reference_table('nodes')"),
        };
        assert!(guide.contains(&call), "the guide says nothing of the table {table}");
    }
    assert_eq!(cluster.query(WITHOUT_TENANT), "api_keys_hash_key tenants_public_id_key");
    let others = "SELECT count(*) FROM pg_constraint WHERE contype NOT IN ('p', 'u', 'n') AND connamespace = 'public'::regnamespace";
    assert_eq!(cluster.query(others), "0", "foreign keys and the like");
    assert_eq!(cluster.query("SELECT count(*) FROM pg_trigger"), "0");
    // The steps that need no Citus.
    for step in guide.split("```sql\n").skip(1).take(2) {
        cluster.query(step.split("```").next().unwrap());
    }
    assert_eq!(cluster.query(WITHOUT_TENANT), "");
    let database = Database::of_cluster(&cluster.url());
    let server = node(&database, &cluster.url(), &[]);
    for name in ["one", "two"] {
        assert_eq!(server.tenant(name).producer.post_event(&event("close")), 1);
    }
    assert_eq!(cluster.query("SELECT string_agg(id::text, ' ' ORDER BY id) FROM tenants"), "1 2");
}

#[test]
fn a_statement_without_its_tenant_is_noticed() {
    for (statement, expected) in [
        ("SELECT \"states\".\"size\" FROM \"states\" WHERE (\"states\".\"tenant_id\" = $1)", &[][..]),
        ("SELECT size FROM states WHERE sequence = $1", &["states"]),
        ("DELETE FROM jobs WHERE id = $1", &["jobs"]),
        ("SELECT * FROM tenants WHERE name = $1", &["tenants"]),
        ("INSERT INTO states (tenant_id, sequence) SELECT * FROM unnest($1, $2)", &[]),
        (
            "SELECT 1 FROM states, notifications WHERE states.tenant_id = 5 AND notifications.tenant_id = states.tenant_id",
            &[],
        ),
        (
            "SELECT 1 FROM states, notifications WHERE states.tenant_id = 5 AND notifications.sequence = 1",
            &["notifications"],
        ),
        ("SELECT attempts FROM states WHERE tenant_id = ANY($1)", &[]),
        (
            "SELECT 1 FROM alerts WHERE NOT EXISTS (SELECT 1 FROM alerts AS older WHERE older.tenant_id = alerts.tenant_id)",
            &["alerts"],
        ),
        (
            "SELECT 1 FROM alert_states JOIN positions ON positions.tenant_id = alert_states.tenant_id",
            &["positions", "alert_states"],
        ),
        (
            "UPDATE positions SET last_sequence = new.last FROM unnest($1, $2) AS new (tenant, last) WHERE positions.tenant_id = new.tenant",
            &[],
        ),
        ("SELECT 1 FROM nodes", &[]),
    ] {
        assert_eq!(unnamed(&plain(statement)).1, expected, "{statement}");
    }
}
