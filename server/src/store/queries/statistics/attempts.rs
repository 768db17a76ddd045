//! The attempts of a while, part by part, found by the notifications whose last attempt ended then: there is no index of
//! attempts by time, which every push would have to write.
//!
//! An attempt stands with a notification whose last one ended in the same part or in a later one, so the parts are gone
//! through from the newest to the oldest. Where a class has more in a part than is read of it, only the latest of that
//! part is taken, of all classes alike: fewer attempts, but in their true proportion.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer};

use super::super::Conn;
use crate::rules::notification::Micros;
use crate::store::runs::list;
use crate::store::seam::Result;
use crate::store::statistics::{Bucket, Ended};

/// So many classes are looked at. A tenant has fewer, unless its receiver answers in every way there is.
const CLASSES: usize = 50;
/// Of a notification that many attempts are read, the last ones.
const LAST: i64 = 20;

#[derive(QueryableByName)]
struct Processed {
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = BigInt)]
    sequence: i64,
}

#[derive(QueryableByName)]
struct AttemptRow {
    #[diesel(sql_type = BigInt)]
    started_at: i64,
    #[diesel(sql_type = Integer)]
    duration_ms: i32,
    #[diesel(sql_type = Bool)]
    accepted: bool,
    /// Whether there may be earlier ones that aren't read.
    #[diesel(sql_type = Bool)]
    is_first: bool,
}

/// What is read of a part before it is known how much of it counts.
#[derive(Default)]
struct Part {
    rows: Vec<Processed>,
    /// From when on everything is there; none: all of it is.
    cut: Option<Micros>,
}

/// The parts of the time, each from one of these times to the next.
pub(super) fn between(
    conn: &mut Conn,
    tenant: i64,
    classes: &[i64],
    times: &[Micros],
    most: usize,
) -> Result<Vec<Bucket>> {
    let Some(since) = times.first() else { return Ok(Vec::new()) };
    let count = times.len() - 1;
    // Usually one class has nearly all.
    let limit = (4 * most / classes.len().clamp(1, CLASSES)).min(most);
    let mut parts: Vec<Part> = (0..count).map(|_| Part::default()).collect();
    for class in classes.iter().take(CLASSES) {
        read_class(conn, tenant, *class, times, limit, &mut parts)?;
    }
    // Those of a notification with several may have ended long before its last.
    let retried = classes.iter().any(|class| class >> 20 > 1);
    let mut all_are_complete = classes.len() <= CLASSES;
    let mut buckets: Vec<Bucket> = vec![Bucket::default(); count];
    let mut from = vec![Micros::MIN; count];
    for nth in (0..count).rev() {
        let Part { mut rows, mut cut } = std::mem::take(&mut parts[nth]);
        rows.retain(|row| cut.is_none_or(|cut| row.at >= cut));
        if rows.len() > most {
            rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.at));
            rows.truncate(most);
            cut = rows.last().map(|row| row.at);
        }
        from[nth] = cut.unwrap_or(Micros::MIN);
        buckets[nth].is_complete = all_are_complete && cut.is_none();
        all_are_complete &= cut.is_none() || !retried;
        let read = read_attempts(conn, tenant, &rows, *since)?;
        all_are_complete &= read.iter().all(|row| row.is_first);
        for row in read {
            let at = row.started_at + i64::from(row.duration_ms) * 1000;
            // The last time that isn't after it. What is recorded a moment after it ended may seem to belong to a later part.
            let part = times.partition_point(|time| *time <= at).saturating_sub(1);
            if let Some(bucket) = buckets.get_mut(part).filter(|_| at >= *since) {
                bucket.attempts.push(Ended { at, duration_ms: row.duration_ms, accepted: row.accepted });
            }
        }
    }
    // Of what ended before the latest part only those with a later attempt were read.
    for (bucket, from) in buckets.iter_mut().zip(from) {
        bucket.attempts.retain(|attempt| attempt.at >= from);
    }
    Ok(buckets)
}

/// The notifications of a class by the end of their last attempt, at most `limit` in each part.
fn read_class(
    conn: &mut Conn,
    tenant: i64,
    class: i64,
    times: &[Micros],
    limit: usize,
    parts: &mut [Part],
) -> Result<()> {
    let (Some(since), Some(mut before)) = (times.first(), times.last().copied()) else { return Ok(()) };
    while before > *since {
        let statement = format!(
            "SELECT processed_at AS at, sequence FROM states WHERE tenant_id = {tenant} AND class = {class} \
             AND processed_at IS NOT NULL AND processed_at >= {since} AND processed_at < {before} \
             ORDER BY class DESC, processed_at DESC, sequence DESC LIMIT {limit}"
        );
        let rows: Vec<Processed> = diesel::sql_query(statement).load(conn)?;
        let is_last = rows.len() < limit;
        let part_of = |at: Micros| times.partition_point(|time| *time <= at) - 1;
        let (Some(newest), Some(oldest)) = (rows.first(), rows.last()) else { return Ok(()) };
        let (first, last, oldest) = (part_of(newest.at), part_of(oldest.at), oldest.at);
        before = if is_last {
            *since
        } else if first == last {
            let cut = &mut parts[first].cut;
            *cut = (*cut).max(Some(oldest));
            times[first]
        } else {
            // The rest of the last part comes with the next page.
            times[last + 1]
        };
        for row in rows {
            let part = part_of(row.at);
            if is_last || first == last || part > last {
                parts[part].rows.push(row);
            }
        }
    }
    Ok(())
}

/// The attempts of these notifications since a time.
fn read_attempts(conn: &mut Conn, tenant: i64, rows: &[Processed], since: Micros) -> Result<Vec<AttemptRow>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let sequences = list(rows.iter().map(|row| row.sequence));
    let statement = format!(
        "SELECT attempts.started_at, attempts.duration_ms, attempts.error IS NULL AS accepted, \
         NOT (attempts.number > 1 AND attempts.number = states.attempts - {LAST} + 1) AS is_first \
         FROM states JOIN attempts ON attempts.tenant_id = states.tenant_id \
         AND attempts.sequence = states.sequence AND attempts.number > states.attempts - {LAST} \
         WHERE states.tenant_id = {tenant} AND states.sequence IN ({sequences}) \
         AND attempts.started_at + CAST(attempts.duration_ms AS BIGINT) * 1000 >= {since}"
    );
    Ok(diesel::sql_query(statement).load(conn)?)
}
