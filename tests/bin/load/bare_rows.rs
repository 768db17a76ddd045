//! The ceilings of reading and of changing: the bare query with its serialisation, and bare UPDATEs, each in a loop.
//!
//! They run in a process of their own, on the database that the server has, on one connection. What the queries read and
//! what is written from it is what the server answers; the load tool compares a page of both.

use std::io::Read;
use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel::backend::Backend;
use diesel::connection::SimpleConnection as _;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType};
use diesel::{
    BoolExpressionMethods as _, Connection, ExpressionMethods as _, JoinOnDsl as _, PgConnection,
    QueryDsl as _, QueryResult, RunQueryDsl, SqliteConnection,
};
use serde::{Deserialize, Serialize};
use tidings_api::notification::{PushState, PushStatus};
use tidings_tests::Tenant;

use crate::target::{Target, Worker};

/// As the server's.
const PRAGMAS: &str = "PRAGMA busy_timeout = 10000; PRAGMA synchronous = FULL; PRAGMA cache_size = -8000; \
     PRAGMA wal_autocheckpoint = 16000;";

/// How many are on a page.
pub(crate) const PAGE: i64 = 100;

diesel::table! {
    tenants (id) {
        id -> BigInt,
        public_id -> Text,
    }
}

diesel::table! {
    notifications (tenant_id, sequence) {
        tenant_id -> BigInt,
        sequence -> BigInt,
        event_type -> Text,
        created_at -> BigInt,
        received_at -> BigInt,
        comment -> Nullable<Text>,
        extra -> Text,
        entity -> Nullable<Text>,
        created_by -> Nullable<Text>,
        included -> Text,
    }
}

diesel::table! {
    states (tenant_id, sequence) {
        tenant_id -> BigInt,
        sequence -> BigInt,
        is_dismissed -> Bool,
        is_read -> Bool,
        is_flagged -> Bool,
        push_state -> SmallInt,
        attempts -> Integer,
    }
}

diesel::allow_tables_to_appear_in_same_query!(notifications, states);

/// Which pages are read, again and again.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Walk {
    /// The cursor of the first.
    pub(crate) from: i64,
    /// From one cursor to the next.
    pub(crate) step: i64,
    /// How many there are.
    pub(crate) pages: i64,
    /// Whether only what is not dismissed is asked for.
    pub(crate) undismissed: bool,
}

impl Walk {
    /// The cursor of a page.
    pub(crate) fn after(&self, nth: i64) -> i64 {
        self.from + nth % self.pages * self.step
    }
}

/// What is done.
#[derive(Serialize, Deserialize)]
pub(crate) enum Work {
    /// Reads pages for so many seconds.
    Pages(Walk, f64),
    /// Dismisses the first so many, so many in each transaction, by one statement or by one for each.
    Dismiss { count: i64, batch: i64, one_by_one: bool },
}

/// What was done.
#[derive(Serialize, Deserialize)]
pub(crate) struct Done {
    /// Pages, or rows changed.
    count: i64,
    seconds: f64,
    /// The first page.
    pub(crate) page: String,
}

impl Done {
    pub(crate) fn per_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Has a process do it.
pub(crate) fn measure(target: &Target, tenant: &Tenant, work: &Work) -> Done {
    let input = serde_json::to_vec(work).expect("work is JSON");
    Worker::start("bare-rows", &[target.database_url().to_owned(), tenant.id.clone()], &input).done()
}

/// Does what the standard input asks for, and says what it took.
pub(crate) fn run(url: &str, tenant: &str) {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).expect("work");
    let work: Work = serde_json::from_slice(&input).expect("work is JSON");
    let done = match url.strip_prefix("sqlite:") {
        Some(path) => {
            let mut conn = SqliteConnection::establish(path).expect("the file can be opened");
            conn.batch_execute(PRAGMAS).expect("pragmas can be set");
            sqlite::run(&mut conn, tenant, &work)
        }
        None => {
            postgres::run(&mut PgConnection::establish(url).expect("the database answers"), tenant, &work)
        }
    };
    println!("{}", serde_json::to_string(&done).expect("numbers are JSON"));
}

type Found = (
    (i64, bool, bool, bool, i16, i32),
    (String, i64, i64, Option<String>, String, Option<String>, Option<String>, String),
);

/// The same for both databases: diesel's queries are of one of them.
macro_rules! on {
    ($name:ident, $conn:ty, $bounds_both:literal) => {
        mod $name {
            use super::*;

            pub(super) fn run(conn: &mut $conn, tenant: &str, work: &Work) -> Done {
                let tenant: i64 = tenants::table
                    .filter(tenants::public_id.eq(tenant))
                    .select(tenants::id)
                    .first(conn)
                    .expect("the tenant is there");
                let begun = Instant::now();
                let (mut count, mut page) = (0, String::new());
                match *work {
                    Work::Pages(walk, seconds) => {
                        while begun.elapsed().as_secs_f64() < seconds {
                            let rows = read(conn, tenant, walk.after(count), walk.undismissed);
                            let written = written(&rows.expect("a page can be read"));
                            if count == 0 {
                                page = String::from_utf8(written).expect("JSON is UTF-8");
                            }
                            count += 1;
                        }
                    }
                    Work::Dismiss { count: all, batch, one_by_one } => {
                        while count < all {
                            let (first, last) = (count + 1, all.min(count + batch));
                            let step = if one_by_one { 1 } else { batch };
                            let done = conn.transaction(|conn| {
                                (first..=last).step_by(step as usize).try_for_each(|first| {
                                    let last = last.min(first + step - 1);
                                    Dismissal { tenant, first, last }.execute(conn).map(drop)
                                })
                            });
                            done.expect("rows can be changed");
                            count = last;
                        }
                    }
                }
                Done { count, seconds: begun.elapsed().as_secs_f64(), page }
            }

            fn read(conn: &mut $conn, tenant: i64, after: i64, undismissed: bool) -> QueryResult<Vec<Found>> {
                let joined = notifications::table.on(notifications::tenant_id
                    .eq(states::tenant_id)
                    .and(notifications::sequence.eq(states::sequence)));
                let mut query = states::table
                    .inner_join(joined)
                    .filter(states::tenant_id.eq(tenant).and(states::sequence.gt(after)))
                    .order(states::sequence.asc())
                    .limit(PAGE)
                    .select((
                        (
                            states::sequence,
                            states::is_dismissed,
                            states::is_read,
                            states::is_flagged,
                            states::push_state,
                            states::attempts,
                        ),
                        (
                            notifications::event_type,
                            notifications::created_at,
                            notifications::received_at,
                            notifications::comment,
                            notifications::extra,
                            notifications::entity,
                            notifications::created_by,
                            notifications::included,
                        ),
                    ))
                    .into_boxed();
                // PostgreSQL, as long as it has no statistics, would else read the other table from the tenant's first row.
                if $bounds_both {
                    query = query
                        .filter(notifications::tenant_id.eq(tenant).and(notifications::sequence.gt(after)));
                }
                if undismissed {
                    query = query.filter(diesel::dsl::not(states::is_dismissed));
                }
                query.load(conn)
            }
        }
    };
}
on!(sqlite, SqliteConnection, false);
on!(postgres, PgConnection, true);

/// An UPDATE whose text never changes, so that the statement is kept: diesel's own is prepared each time.
struct Dismissal {
    tenant: i64,
    first: i64,
    last: i64,
}

impl QueryId for Dismissal {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend + HasSqlType<BigInt>> QueryFragment<DB> for Dismissal
where
    i64: ToSql<BigInt, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE states SET is_dismissed = TRUE WHERE tenant_id = ");
        out.push_bind_param::<BigInt, _>(&self.tenant)?;
        out.push_sql(" AND sequence >= ");
        out.push_bind_param::<BigInt, _>(&self.first)?;
        out.push_sql(" AND sequence <= ");
        out.push_bind_param::<BigInt, _>(&self.last)
    }
}

impl<C: Connection> RunQueryDsl<C> for Dismissal {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attributes<'r> {
    id: &'r str,
    #[serde(with = "tidings_api::time")]
    created_at: DateTime<Utc>,
    r#type: &'r str,
    is_dismissed: bool,
    is_read: bool,
    is_flagged: bool,
    comment: Option<&'r str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(with = "tidings_api::time")]
    received_at: DateTime<Utc>,
    push: PushStatus,
}

/// The document of a page, with a link for each notification.
fn written(rows: &[Found]) -> Vec<u8> {
    let time = |micros| DateTime::from_timestamp_micros(micros).expect("a time that was stored");
    let mut out = b"{\"data\":[".to_vec();
    for (state, content) in rows {
        let (sequence, is_dismissed, is_read, is_flagged, push, attempts) = *state;
        let (event_type, created_at, received_at, comment, extra, ..) = content;
        if out.last() == Some(&b'}') {
            out.push(b',');
        }
        let id = sequence.to_string();
        out.extend_from_slice(b"{\"type\":\"notification\",\"id\":\"");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\",\"links\":{\"self\":\"http://127.0.0.1:8080/api/rest/v1.0/notifications/");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\"},\"attributes\":");
        let attributes = Attributes {
            id: &id,
            created_at: time(*created_at),
            r#type: event_type,
            is_dismissed,
            is_read,
            is_flagged,
            comment: comment.as_deref(),
        };
        serde_json::to_writer(&mut out, &attributes).expect("attributes are JSON");
        // What is stored as JSON goes through as it is.
        out.pop();
        out.push(b',');
        out.extend_from_slice(extra.as_bytes());
        out.extend_from_slice(b"},\"relationships\":{},\"meta\":");
        let push = PushStatus {
            state: if push == 0 { PushState::None } else { PushState::Delivered },
            attempts,
            next_attempt_at: None,
        };
        let meta = Meta { received_at: time(*received_at), push };
        serde_json::to_writer(&mut out, &meta).expect("meta is JSON");
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"included\":[]}");
    out
}
