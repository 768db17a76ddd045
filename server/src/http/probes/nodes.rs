//! The nodes that share the database, as far as this one knows.
//!
//! Who asks need not say who he is, so nothing of any tenant stands here, and the database is asked once a second at
//! most, however many want to know.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::http::time;
use crate::store::Store;
use crate::store::pulse::SILENCE;
use crate::store::seam::NodeInfo;

/// How long an answer of the database is good enough.
const FRESH: Duration = Duration::from_secs(1);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server process that works on the same database.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct Node {
    /// Another with each start.
    #[schema(example = "4242424242424242424")]
    id: String,
    /// Whether it is the one that answers.
    is_this_one: bool,
    /// Host and port; null if an older version doesn't tell.
    #[schema(example = "one.example:8080")]
    name: Option<String>,
    /// The version of the server.
    #[schema(example = "1.0.0")]
    version: Option<String>,
    /// Since when it runs.
    started_at: Option<DateTime<Utc>>,
    /// How long ago it has shown itself to the others. After 8 seconds it counts as dead.
    seen_ago_ms: u64,
    /// How many lanes are its own: only this node pushes for those tenants.
    lanes: Option<i64>,
    /// How many notifications it has leased, to push them.
    leases: Option<i64>,
}

/// What was last known of all nodes.
#[derive(Default)]
pub(in crate::http) struct Nodes(Mutex<Known>);

#[derive(Default)]
struct Known {
    list: Vec<NodeInfo>,
    /// When the list was read.
    read: Option<Instant>,
    /// When the database was last asked, with or without success.
    asked: Option<Instant>,
}

impl Known {
    /// How much older than when it was read the list is.
    fn age(&self) -> u64 {
        self.read.map_or(0, |read| millis(read.elapsed()))
    }

    fn answers(&self) -> bool {
        self.read.is_some() && self.read == self.asked
    }
}

impl Nodes {
    async fn known(&self, store: &Store) -> tokio::sync::MutexGuard<'_, Known> {
        let mut known = self.0.lock().await;
        if known.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            let list = tokio::time::timeout(PATIENCE, store.read(|conn| conn.node_list())).await;
            let now = Instant::now();
            known.asked = Some(now);
            if let Ok(Ok(list)) = list {
                (known.list, known.read) = (list, Some(now));
            }
        }
        known
    }

    /// All nodes, and whether the database has answered. If it hasn't, they are those that were known before.
    pub(super) async fn list(&self, store: &Store) -> (Vec<Node>, bool) {
        let known = self.known(store).await;
        let (age, this) = (known.age(), store.node());
        let node = |info: &NodeInfo| Node {
            id: info.node.to_string(),
            is_this_one: info.node == this,
            name: info.name.clone(),
            version: info.version.clone(),
            started_at: info.started_at.map(time),
            seen_ago_ms: silence(info).saturating_add(age),
            lanes: info.lanes,
            leases: info.leases,
        };
        (known.list.iter().map(node).collect(), known.answers())
    }

    /// How many nodes are alive.
    pub(super) async fn alive(&self, store: &Store) -> usize {
        let known = self.known(store).await;
        let age = known.age();
        let is_alive = |info: &&NodeInfo| silence(info).saturating_add(age) < millis(SILENCE);
        known.list.iter().filter(is_alive).count()
    }
}

/// How long a node had not been seen when the list was read, in milliseconds.
fn silence(info: &NodeInfo) -> u64 {
    info.silence.unsigned_abs() / 1000
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
