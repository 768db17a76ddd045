//! Catching up: how fast an archiver gets many waiting notifications into its inbox, beside a bare loop.
//!
//! The bare loop is what one writes by hand: read a page, write its rows in a transaction with the cursor, go on. It reads
//! the same pages over the load tool's own bare HTTP, and writes the same rows into the same tables with the same pragmas.
//! (The rows are compared.) Each run is a process of its own, so that its memory is its own, and they take turns.

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::BigInt;
use diesel::{
    Connection as _, ExpressionMethods as _, QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query,
};
use futures_util::future::select;
use serde::{Deserialize, Serialize};
use tidings_api::notification::NotificationPage;
use tidings_client::archiver::{Archiver, Outcome, every};
use tidings_client::{Client, Inbox, NotificationDocument};
use tidings_tests::program::peak_memory;

use crate::Options;
use crate::fill::fill;
use crate::http::Connection;
use crate::target::{Target, Worker, beside};
use crate::turns::{Report, Row};

/// The inbox's own.
const PRAGMAS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -8000; PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864;";
const PAGE: usize = 1_000;

/// What a process does with what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// The bare loop.
    Bare,
    /// An archiver whose only handler never ends.
    Store,
    /// An archiver whose handlers have nothing to do.
    Handle,
}

/// What a process has done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    /// Seconds until all was stored.
    stored: f64,
    /// Until all was handled.
    handled: Option<f64>,
    /// Until all was dismissed at the server.
    dismissed: Option<f64>,
    /// The most memory that it has had.
    memory_mb: f64,
}

/// Runs one way into a file, and says on the standard output what it took.
pub(crate) async fn part(way: Way, url: &str, key: &str, file: &Path, count: i64) {
    let begun = Instant::now();
    let done = match way {
        Way::Bare => {
            bare(url, key, file).await;
            Done {
                stored: begun.elapsed().as_secs_f64(),
                handled: None,
                dismissed: None,
                memory_mb: memory(),
            }
        }
        Way::Store | Way::Handle => archive(way, url, key, file, count, begun).await,
    };
    println!("{}", serde_json::to_string(&done).expect("numbers are JSON"));
    // A handler that never ends would be waited for.
    std::process::exit(0);
}

diesel::table! {
    inbox_notifications (id) {
        id -> BigInt,
        #[sql_name = "type"]
        event_type -> Text,
        state -> BigInt,
        dismiss -> BigInt,
        source -> BigInt,
        attempts -> BigInt,
        received_at -> BigInt,
        due_at -> BigInt,
        due_since -> BigInt,
    }
}

diesel::table! {
    inbox_documents (id) {
        id -> BigInt,
        document -> Text,
    }
}

async fn bare(url: &str, key: &str, file: &Path) {
    // Its tables are the inbox's.
    drop(Inbox::open(file).expect("a new inbox"));
    let mut conn = SqliteConnection::establish(&file.to_string_lossy()).expect("it can be opened");
    conn.batch_execute(PRAGMAS).expect("pragmas can be set");
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let mut connection = Connection::open(address).await.expect("the server takes connections");
    let mut cursor = "0".to_owned();
    loop {
        let path = format!(
            "{}/notifications?filter[isDismissed]=true,false&sort=sequence&page[size]={PAGE}&page[after]={cursor}",
            tidings_api::BASE_PATH
        );
        // Links in the answer begin with the host that was asked.
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\n\r\n");
        let answer = connection.exchange(request.as_bytes()).await.expect("a page is answered");
        let page: NotificationPage = serde_json::from_slice(answer.body).expect("a page");
        let is_last = page.links.next.is_none();
        cursor = page.meta.and_then(|meta| meta.page).expect("a cursor").after;
        let stored = conn.immediate_transaction(|conn| {
            let now = chrono::Utc::now().timestamp_micros();
            for mut data in page.data {
                data.meta = None;
                let id = data.id.get();
                let (event_type, dismissed) =
                    (data.attributes.r#type.as_str().to_owned(), data.attributes.is_dismissed);
                let document = NotificationDocument { links: data.links.clone(), data, included: Vec::new() };
                let document = serde_json::to_string(&document).expect("a document is JSON");
                diesel::insert_into(inbox_notifications::table)
                    .values((
                        inbox_notifications::id.eq(id),
                        inbox_notifications::event_type.eq(event_type),
                        inbox_notifications::state.eq(0),
                        inbox_notifications::dismiss.eq(i64::from(!dismissed)),
                        inbox_notifications::source.eq(1),
                        inbox_notifications::attempts.eq(0),
                        inbox_notifications::received_at.eq(now),
                        inbox_notifications::due_at.eq(now),
                        inbox_notifications::due_since.eq(now),
                    ))
                    .execute(conn)?;
                diesel::insert_into(inbox_documents::table)
                    .values((inbox_documents::id.eq(id), inbox_documents::document.eq(document)))
                    .execute(conn)?;
            }
            sql_query("UPDATE inbox_state SET cursor = ?, last_pull = ?")
                .bind::<BigInt, _>(cursor.parse::<i64>().unwrap_or_default())
                .bind::<BigInt, _>(now)
                .execute(conn)
        });
        stored.expect("a page can be stored");
        if is_last {
            return;
        }
    }
}

/// An archiver, as far as asked. A file that has something already is caught up from there.
async fn archive(way: Way, url: &str, key: &str, file: &Path, count: i64, begun: Instant) -> Done {
    let inbox = Inbox::open(file).expect("an inbox");
    let client = Client::builder(url).key(key).build().expect("a client");
    let archiver = Archiver::builder(client, inbox.clone())
        .otherwise(move |_, _| async move {
            if way == Way::Store {
                pending::<()>().await;
            }
            Ok(Outcome::Done)
        })
        .concurrency(if way == Way::Store { 1 } else { 64 })
        .catch_up(every(Duration::from_secs(3_600)))
        .build()
        .expect("an archiver");
    let watch = async {
        let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
        let time = || begun.elapsed().as_secs_f64();
        while inbox.cursor().await.expect("the inbox can be read").get() < count {
            pause(5).await;
        }
        let mut done = Done { stored: time(), handled: None, dismissed: None, memory_mb: memory() };
        while way == Way::Handle && done.dismissed.is_none() {
            let counts = inbox.counts().await.expect("the inbox can be read");
            if counts.waiting == 0 {
                done.handled.get_or_insert_with(time);
                done.dismissed = (counts.to_dismiss == 0).then(time);
            }
            pause(50).await;
        }
        done.memory_mb = memory();
        done
    };
    match select(pin!(watch), pin!(archiver.run(pending::<()>()))).await {
        futures_util::future::Either::Left((done, _)) => done,
        futures_util::future::Either::Right((ended, _)) => panic!("the archiver has ended: {ended:?}"),
    }
}

/// The most memory that this process has had, in MB.
fn memory() -> f64 {
    peak_memory(std::process::id()).unwrap_or_default()
}

/// Has so many notifications wait at a server, and reads them in each way.
pub(crate) async fn run(options: &Options, count: u64) -> Report {
    let target = Target::new(options);
    let mut report = Report::new(options, target.database());
    let tenant = target.tenants("catch-up", 1).remove(0);
    fill(&mut report, options, &target, &tenant, count).await;

    let dir = tempfile::tempdir_in(beside()).expect("a directory");
    let measure = |way, name: &str| {
        let file = dir.path().join(name);
        (measure(way, tenant.consumer.url(), tenant.consumer.key(), &file, count), file)
    };
    let mut row = Row::rate(format!("stored of {count} waiting"), "bare loop", None);
    for nth in 1..=options.rounds {
        let (bare, bare_file) = measure(Way::Bare, &format!("bare-{nth}.db"));
        let (stored, file) = measure(Way::Store, &format!("inbox-{nth}.db"));
        if nth == 1 {
            let same = same(&bare_file, &file);
            if u64::try_from(same) != Ok(count) {
                report.missing(&format!("the bare loop and the archiver wrote {same} of {count} rows alike"));
            }
        }
        row.add(count as f64 / stored.stored, count as f64 / bare.stored);
        report.note(format!("memory: {:.1} MB, bare {:.1} MB", stored.memory_mb, bare.memory_mb));
        for file in [bare_file, file] {
            let _ = std::fs::remove_file(file);
        }
    }
    report.add([row]);
    // Last, because it dismisses them.
    let handled = measure(Way::Handle, "handled.db").0;
    let rate = |seconds: Option<f64>| seconds.map_or(0.0, |seconds| count as f64 / seconds);
    report.note(format!(
        "with handlers: {:.0}/s stored, {:.0}/s handled, {:.0}/s dismissed at the server; memory {:.1} MB",
        rate(Some(handled.stored)),
        rate(handled.handled),
        rate(handled.dismissed),
        handled.memory_mb
    ));
    report
}

/// One way in a process of its own.
fn measure(way: Way, url: &str, key: &str, file: &Path, count: u64) -> Done {
    let name = way.to_possible_value().expect("every way has a name").get_name().to_owned();
    let file = file.to_string_lossy().into_owned();
    Worker::start("caught-up", &[name, url.to_owned(), key.to_owned(), count.to_string(), file], &[]).done()
}

/// How many rows are the same in both files.
fn same(one: &Path, other: &Path) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let mut conn = SqliteConnection::establish(&other.to_string_lossy()).expect("it can be opened");
    sql_query("ATTACH ? AS bare")
        .bind::<diesel::sql_types::Text, _>(one.to_string_lossy().into_owned())
        .execute(&mut conn)
        .expect("both can be opened");
    let same: Count = sql_query(
        "SELECT count(*) AS number FROM inbox_documents AS d JOIN inbox_notifications AS n USING (id) \
         JOIN bare.inbox_documents AS e USING (id) JOIN bare.inbox_notifications AS m USING (id) \
         WHERE d.document = e.document AND n.type = m.type AND n.dismiss = m.dismiss AND n.source = m.source",
    )
    .get_result(&mut conn)
    .expect("both can be read");
    same.number
}
