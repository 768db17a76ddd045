//! What an archiver is doing: how far its backlog is, and what is wrong.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tidings_client::Archiver;
use tidings_client::archiver::Health;

use crate::output::Out;
use crate::progress::Progress;

/// How often what is going on is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A backlog of so many is worth a bar.
const MANY: u64 = 200;
/// A backlog that does not shrink for so long is not shown as work.
const STILL: Duration = Duration::from_secs(30);

/// Shows how far a backlog is, and tells of trouble when it begins and when it has passed.
pub(crate) async fn watch(out: &Out, archiver: &Archiver, telling: bool) -> Infallible {
    let mut stage: Option<Stage> = None;
    let mut trouble: Option<String> = None;
    let mut depth = 0;
    let start = archiver.inbox().cursor().await.map_or(0, |cursor| cursor.get());
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(health) = archiver.health().await else { continue };
        let is_shrinking = health.depth < depth;
        depth = health.depth;
        stage = Stage::next(stage, out, &health, start, is_shrinking);
        let now = health.last_error.map(|problem| problem.what);
        if telling && now != trouble {
            let text = match &now {
                Some(what) => format!("tidings: {what}; trying again"),
                None => "tidings: all is well again".to_owned(),
            };
            out.note(&text);
            trouble = now;
        }
    }
}

/// A backlog on its way: first fetched, then handled.
struct Stage {
    fetching: bool,
    progress: Progress,
    /// With handling: the most that were waiting.
    most: u64,
    moved: Instant,
}

impl Stage {
    fn next(
        stage: Option<Stage>,
        out: &Out,
        health: &Health,
        start: i64,
        is_shrinking: bool,
    ) -> Option<Stage> {
        let lag = health.lag.unwrap_or(0);
        let fetching = match &stage {
            Some(Stage { fetching: true, .. }) => lag > 0,
            _ => lag >= MANY,
        };
        // What only waits for its next attempt is no work that goes on.
        let handling = match &stage {
            Some(stage) => health.depth > 0 && (stage.fetching || stage.moved.elapsed() < STILL),
            None => health.depth >= MANY && is_shrinking,
        };
        if !fetching && !handling {
            return None;
        }
        let mut stage = match stage.filter(|stage| stage.fetching == fetching) {
            Some(stage) => stage,
            None => {
                let what = if fetching { "fetched" } else { "handled" };
                Stage {
                    fetching,
                    progress: Progress::new(out, what, Some(0)),
                    most: 0,
                    moved: Instant::now(),
                }
            }
        };
        let (done, total) = if fetching {
            let fetched = health.cursor.get().saturating_sub(start).max(0).cast_unsigned();
            (fetched, fetched + lag)
        } else {
            stage.most = stage.most.max(health.depth);
            (stage.most - health.depth, stage.most)
        };
        if is_shrinking {
            stage.moved = Instant::now();
        }
        stage.progress.total(Some(total));
        stage.progress.set(done);
        Some(stage)
    }
}
