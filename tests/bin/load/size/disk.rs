//! What a delivered notification takes on disk, in all tables and indexes.

use tidings_tests::database::Kind;

use super::{Figures, Scope, posts, server, store, wait_for};
use crate::Options;
use crate::generator;
use crate::target::Receiver;
use crate::turns::progress;

/// How many are delivered: enough that what a database has from the beginning doesn't count.
const COUNT: u64 = 100_000;
/// What is smaller than this, for a notification, isn't told.
const TOLD: f64 = 0.5;

/// Delivers notifications, stops the server, and looks.
pub(crate) async fn measure(figures: &mut Figures, options: &Options, scope: &Scope) {
    let database = scope.database();
    let mut server = server(options, &database);
    let receiver = Receiver::start();
    let keys = store::tenants(&database, (0..options.tenants as usize).map(|nth| receiver.url(nth)));
    let requests = posts(keys.iter().map(String::as_str), options.body);
    progress(&format!("{COUNT} notifications are delivered"));
    let address = ([127, 0, 0, 1], server.port()).into();
    let posted = generator::each(
        address,
        requests.into_iter().cycle().take(COUNT as usize),
        options.connections(),
        201,
    )
    .await;
    figures.check(&posted);
    wait_for(figures, &receiver, COUNT).await;
    // What was delivered is recorded, and SQLite's log is in its file, when the server has ended.
    server.term();

    let per = |bytes: i64| bytes as f64 / COUNT as f64;
    let sizes = store::numbers(
        &database,
        match database.kind() {
            Kind::Sqlite => {
                "SELECT name, sum(pgsize) AS number FROM dbstat GROUP BY name ORDER BY number DESC"
            }
            Kind::Postgres => {
                "SELECT relname AS name, CASE WHEN relkind = 'i' THEN pg_relation_size(oid) ELSE pg_table_size(oid) END AS number \
             FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') ORDER BY number DESC"
            }
        },
    );
    let total: i64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    let ratio = per(total) / f64::from(options.body);
    figures.add(format!("on disk, delivered, {} tenants", options.tenants), ratio, "× payload", Some(2.0));
    for (name, bytes) in sizes {
        if per(bytes) >= TOLD {
            figures.add(format!("  {name}"), per(bytes), "bytes", None);
        }
    }
}
