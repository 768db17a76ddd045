//! Large stores, made inside the database: tenants through the server's own store, notifications as copies.

use std::time::{SystemTime, UNIX_EPOCH};

use diesel::sql_types::{BigInt, Text};
use diesel::{Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query};
use serde_json::json;
use tidings_api::tenant::Role;
use tidings_server::provision;
use tidings_server::push::signature::SigningSecret;
use tidings_server::secrets::Vault;
use tidings_server::store::DatabaseUrl;
use tidings_server::store::seam::NewTenant;
use tidings_tests::Database;
use tidings_tests::database::{Kind, psql_at};
use tidings_tests::server::secret_key;
use uuid::Uuid;

/// How many rows are copied by one statement.
const STEP: i64 = 500_000;

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(now.as_micros()).expect("microseconds fit until the year 294,000")
}

/// Makes tenants that push to these URLs and dismiss what is delivered; answers a key of each. A server must have
/// been started on the database before.
pub(crate) fn tenants(database: &Database, urls: impl IntoIterator<Item = String>) -> Vec<String> {
    let vault = Vault::new(&secret_key(database)).expect("the server's own key");
    let mut urls = Some(urls.into_iter().collect::<Vec<_>>());
    let mut keys = Vec::new();
    let database: DatabaseUrl = database.url().parse().expect("the database's own URL");
    let mut conn = database.connect().expect("the database is there");
    conn.atomically(&mut |conn| {
        for (nth, url) in urls.take().into_iter().flatten().enumerate() {
            let secret = vault.seal(&SigningSecret::generate().to_text());
            let push =
                json!({"url": url, "enabled": true, "autoDismiss": true, "signing": {"secret": secret}});
            let tenant = conn.tenant_create(&NewTenant {
                public_id: Uuid::new_v4().to_string(),
                name: format!("load {nth}"),
                created_at: now(),
                settings: json!({"push": push}).to_string(),
                may_reach_loopback: true,
            })?;
            keys.push(provision::create_key(conn, tenant.id, "load", Role::Admin)?.1);
        }
        Ok(())
    })
    .expect("tenants can be made");
    keys
}

/// Copies the first notification of each tenant that has one, until each has so many, one tenant after the other in turn.
/// `age`: how many microseconds ago the copies were received.
pub(crate) fn copies(database: &Database, count: i64, age: i64) {
    let tenants =
        numbers(database, "SELECT 'tenants' AS name, count(*) AS number FROM states WHERE sequence = 1");
    let tenants = tenants.first().map_or(1, |(_, tenants)| *tenants).max(1);
    let quickly = match database.kind() {
        Kind::Sqlite => "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000;",
        Kind::Postgres => "SET synchronous_commit = off;",
    };
    let received = now() - age;
    let step = (STEP / tenants).max(1);
    for from in (2..=count).step_by(usize::try_from(step).expect("a small number")) {
        let through = count.min(from + step - 1);
        let rows = format!(
            "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {through})"
        );
        // The outer loop counts, so that the tenants' rows lie as they would have come.
        let notifications = "n CROSS JOIN notifications AS a WHERE a.sequence = 1";
        let states = "n CROSS JOIN states AS a WHERE a.sequence = 1";
        let attempts = "n CROSS JOIN attempts AS a WHERE a.sequence = 1";
        database.execute(&format!(
            "{quickly} BEGIN;
             {rows} INSERT INTO notifications (tenant_id, sequence, event_type, created_at, received_at, comment, extra, entity, created_by, included)
             SELECT tenant_id, i, event_type, {received} + i, {received} + i, comment, extra, entity, created_by, included FROM {notifications} ORDER BY i;
             {rows} INSERT INTO states (tenant_id, sequence, is_dismissed, is_read, is_flagged, push_state, attempts, due_at, size, processed_at, response_status, error, attempts_before)
             SELECT tenant_id, i, is_dismissed, is_read, is_flagged, push_state, attempts, CASE WHEN push_state = 1 THEN i END, size, {received} + i, response_status, error, attempts_before FROM {states} ORDER BY i;
             {rows} INSERT INTO attempts (tenant_id, sequence, number, started_at, duration_ms, url, address, reason, response_status, response_text, error)
             SELECT tenant_id, i, number, {received} + i, duration_ms, url, address, reason, response_status, response_text, error FROM {attempts} ORDER BY i;
             UPDATE positions SET last_sequence = {through} WHERE last_sequence BETWEEN 1 AND {through};
             COMMIT;"
        ));
    }
    if database.kind() == Kind::Postgres {
        database.execute("VACUUM ANALYZE");
    } else {
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The answer to a query for `name` and `number`.
pub(crate) fn numbers(database: &Database, query: &str) -> Vec<(String, i64)> {
    let Some(path) = database.url().strip_prefix("sqlite:") else {
        let rows = psql_at(database.url(), query);
        let parts = |line: &str| {
            let (name, number) = line.rsplit_once('|').expect("two columns");
            (name.to_owned(), number.parse().expect("a number"))
        };
        return rows.lines().map(parts).collect();
    };
    let mut conn = SqliteConnection::establish(path).expect("the database is there");
    let rows: Vec<Number> = sql_query(query).load(&mut conn).expect("a query that SQLite understands");
    rows.into_iter().map(|row| (row.name, row.number)).collect()
}
