//! TLS to PostgreSQL: the feature `postgres-tls`, against a cluster with a certificate.

use tidings_tests::database::psql_at;
use tidings_tests::server::Options;
use tidings_tests::{Database, Kind, Server, event};

#[test]
fn sslmode_require_is_an_encrypted_connection() {
    let database = Database::new(Kind::Postgres);
    let url = format!("{}?sslmode=require", database.url());
    let options = Options { database_url: Some(url), ..Options::default() };
    let server = Server::start_with(&database, options);
    let tenant = server.tenant("encrypted");
    tenant.producer.post_event(&event("close"));
    assert_eq!(tenant.consumer.ids(""), [1]);

    let plain = psql_at(
        database.url(),
        "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
         WHERE datname = current_database() AND NOT ssl AND pid <> pg_backend_pid()",
    );
    let encrypted = psql_at(
        database.url(),
        "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
         WHERE datname = current_database() AND ssl AND pid <> pg_backend_pid()",
    );
    assert_eq!(plain, "0", "some connections are not encrypted");
    assert!(encrypted.parse::<u32>().unwrap() > 0, "no connection is encrypted");
}
