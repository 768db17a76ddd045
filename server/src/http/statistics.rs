//! `/statistics`: figures of a tenant, for those who watch it. What is read for them has a bound, however much is stored.

use actix_web::{HttpRequest, HttpResponse, get, web};
use chrono::Utc;
use tidings_api::jsonapi::SelfLink;
use tidings_api::statistics::{
    AttemptBucket, AttemptCounts, NotificationCounts, PushCounts, RetentionFacts, Statistics,
    StatisticsAttributes, StatisticsDocument,
};

use super::auth::Consumer;
use super::error::Error;
use super::query::Parameters;
use super::{State, base, json, time};
use crate::rules::notification::Micros;
use crate::store::statistics::{Bucket, Ended};

/// Notifications of a kind are counted up to this many.
const COUNTED: i64 = 100_000;
/// Failures are counted up to this many.
const FAILURES: i64 = 10_000;
/// In each bucket the attempts of at most so many notifications count.
const IN_A_BUCKET: usize = 1000;
const MINUTE: Micros = 60_000_000;
const HOUR: Micros = 60 * MINUTE;
/// How long ago yesterday is.
pub(super) const DAY: Micros = 24 * HOUR;

/// Tells figures
///
/// How many notifications there are, how their pushes stand, and what became of the attempts of the last hour or day. What
/// is read for an answer is bounded, however much is stored: of each kind at most 100,000 notifications are counted, and in
/// each bucket the attempts of at most 1,000 notifications, the last 20 of each. Where that wasn't everything,
/// `isComplete` is false. Roles: `consumer`, `admin`.
#[utoipa::path(
    tag = "push queue",
    params(("hours" = Option<String>, Query, description = "How far back the buckets reach: `1` or, by default, `24`", pattern = "^(1|24)$", example = "24")),
    responses((status = 200, description = "The figures", body = StatisticsDocument))
)]
#[get("/statistics")]
pub(super) async fn get_statistics(
    caller: Consumer,
    state: web::Data<State>,
    request: HttpRequest,
) -> Result<HttpResponse, Error> {
    let mut parameters = Parameters::parse(request.query_string())?;
    let hours = parameters.take("hours").unwrap_or_else(|| "24".to_owned());
    parameters.finish()?;
    let (count, width) = match hours.as_str() {
        "1" => (12, 5 * MINUTE),
        "24" => (24, HOUR),
        _ => return Err(Error::parameter("hours", "1 or 24 is expected")),
    };
    let tenant = caller.0;
    let entry = state.tenant(tenant).await?;
    let until = Utc::now().timestamp_micros();
    let times = times(until, count, width);
    let (since, edges) = (times.first().copied().unwrap_or(until), times.clone());
    let read = state.store.page(move |conn| {
        Ok((
            conn.counts(tenant, COUNTED)?,
            conn.attempts_between(tenant, &edges, IN_A_BUCKET)?,
            conn.undelivered(tenant, 1)?.1,
            conn.failed_since(tenant, until - DAY, FAILURES)?,
            conn.oldest_received(tenant)?,
        ))
    });
    let (counts, buckets, oldest_undelivered, failed, oldest) = read.await?;
    let attempts = figures(&Bucket {
        is_complete: buckets.iter().all(|bucket| bucket.is_complete),
        attempts: buckets.iter().flat_map(|bucket| &bucket.attempts).copied().collect(),
    });
    let (pending, paused) = if entry.push_is_active() { (counts.pending, 0) } else { (0, counts.pending) };
    let attributes = StatisticsAttributes {
        since: time(since),
        until: time(until),
        is_complete: counts.flags_are_complete
            && counts.push_is_complete
            && attempts.is_complete
            && failed < FAILURES,
        notifications: NotificationCounts {
            total: counts.total,
            undismissed: counts.undismissed,
            unread: counts.unread,
            flagged: counts.flagged,
            is_complete: counts.flags_are_complete,
        },
        push: PushCounts {
            none: counts.none,
            pending,
            delivered: counts.delivered,
            failed: counts.failed,
            paused,
            is_complete: counts.push_is_complete,
        },
        oldest_undelivered_at: oldest_undelivered.map(time),
        failed_since_yesterday: failed,
        buckets: times
            .iter()
            .zip(&buckets)
            .map(|(at, bucket)| AttemptBucket { started_at: time(*at), attempts: figures(bucket) })
            .collect(),
        attempts,
        retention: RetentionFacts {
            days: entry.settings.retention.days,
            oldest_received_at: oldest.map(time),
        },
    };
    json(&StatisticsDocument {
        links: SelfLink { this: format!("{}/statistics?hours={hours}", base(&state, &request)) },
        data: Statistics { r#type: "statistics".to_owned(), id: entry.tenant.public_id.clone(), attributes },
    })
}

/// Where buckets begin and end: at round times, so that they stay the same from one answer to the next.
fn times(until: Micros, count: i64, width: Micros) -> Vec<Micros> {
    let end = (until.div_euclid(width) + 1) * width;
    (0..=count).map(|nth| end - (count - nth) * width).collect()
}

fn figures(bucket: &Bucket) -> AttemptCounts {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let accepted = bucket.attempts.iter().filter(|attempt| attempt.accepted).count();
    let mut durations: Vec<i32> =
        bucket.attempts.iter().map(|&Ended { duration_ms, .. }| duration_ms).collect();
    durations.sort_unstable();
    AttemptCounts {
        accepted: number(accepted),
        failed: number(durations.len() - accepted),
        p50_ms: percentile(&durations, 50),
        p95_ms: percentile(&durations, 95),
        is_complete: bucket.is_complete,
    }
}

/// The smallest of these ordered numbers that as many per cent of them don't exceed.
fn percentile(ordered: &[i32], share: usize) -> Option<i64> {
    let rank = (ordered.len() * share).div_ceil(100);
    ordered.get(rank.checked_sub(1)?).copied().map(i64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_at_round_times_and_the_last_one_is_going_on() {
        let hours = times(25 * HOUR + 1, 24, HOUR);
        assert_eq!((hours.len(), hours[0], hours[24]), (25, 2 * HOUR, 26 * HOUR));
        let minutes = times(2 * HOUR, 12, 5 * MINUTE);
        assert_eq!((minutes.len(), minutes[0], minutes[11]), (13, HOUR + 5 * MINUTE, 2 * HOUR));
    }

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[7], 95), Some(7));
        let hundred: Vec<i32> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95)), (Some(50), Some(95)));
        assert_eq!((percentile(&[1, 2, 3, 4], 50), percentile(&[1, 2, 3, 4], 95)), (Some(2), Some(4)));
    }
}
