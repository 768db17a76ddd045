//! The push queue: what is in a list of deliveries, and which notifications a job about deliveries is about.

mod search;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use serde::Deserialize;
use tidings_api::event::Change;

use self::search::Search;
use super::delivery::held;
use super::{Conn, dialect};
use crate::rules::notification::{Micros, PushProgress};
use crate::store::queue::{
    DeliveryFilter, DeliveryOrder, DeliveryQuery, DeliveryRow, Place, QueueQueries, Rank,
};
use crate::store::rows::{AttemptRow, LEASED, attempt_error, push_number, push_progress};
use crate::store::schema::{attempts, notifications, states};
use crate::store::seam::{AttemptRecord, Result, TenantId};

/// How long one page may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl QueueQueries for Conn {
    fn delivery_page(
        &mut self,
        tenant: TenantId,
        query: &DeliveryQuery,
    ) -> Result<Vec<(Place, DeliveryRow)>> {
        let places = Search::run(self, tenant, query, Some(Instant::now() + PATIENCE))?;
        let sequences: Vec<i64> = places.iter().map(|place| place.sequence).collect();
        let mut rows = read(self, tenant, &sequences)?;
        let found = places.into_iter();
        Ok(found.filter_map(|place| rows.remove(&place.sequence).map(|row| (place, row))).collect())
    }

    fn delivery_get(&mut self, tenant: TenantId, sequence: i64) -> Result<Option<DeliveryRow>> {
        Ok(read(self, tenant, &[sequence])?.remove(&sequence))
    }

    fn attempts(
        &mut self,
        tenant: TenantId,
        sequence: i64,
        from: Option<i32>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(i32, AttemptRecord)>> {
        let query = attempts::table
            .filter(attempts::tenant_id.eq(tenant.0).and(attempts::sequence.eq(sequence)))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .select((attempts::number, AttemptRow::as_select()));
        let rows: Vec<(i32, AttemptRow)> = match backwards {
            false => {
                query.filter(attempts::number.gt(from.unwrap_or(0))).order(attempts::number).load(self)?
            }
            true => query
                .filter(attempts::number.lt(from.unwrap_or(i32::MAX)))
                .order(attempts::number.desc())
                .load(self)?,
        };
        Ok(rows.into_iter().map(|(number, row)| (number, AttemptRecord::from(row))).collect())
    }
}

/// The sequences of deliveries between two, the first exclusive, in their order.
pub(super) fn matching(
    conn: &mut Conn,
    tenant: TenantId,
    filter: &DeliveryFilter,
    (after, up_to): (i64, i64),
    limit: usize,
) -> Result<Vec<i64>> {
    let from = Place { rank: Rank::Number(0), key: 0, sequence: after };
    let query = DeliveryQuery {
        filter: filter.clone(),
        order: DeliveryOrder::Id,
        descending: false,
        from: Some(from),
        backwards: false,
        limit,
        up_to,
        push_is_active: true,
    };
    let places = Search::run(conn, tenant, &query, None)?;
    Ok(places.into_iter().map(|place| place.sequence).collect())
}

/// The deliveries with these sequences. One by one, because what isn't shown of them may be large.
fn read(conn: &mut Conn, tenant: TenantId, sequences: &[i64]) -> Result<HashMap<i64, DeliveryRow>> {
    type Row = (
        (i64, i16, i32, Option<Micros>, Option<i16>, Option<i16>, Option<i64>),
        (String, Micros, Option<String>, String),
    );
    let state = (
        states::sequence,
        states::push_state,
        states::attempts,
        states::processed_at,
        states::error,
        states::response_status,
        states::due_at,
    );
    let event = (
        notifications::event_type,
        notifications::created_at,
        notifications::created_by,
        notifications::extra,
    );
    let both =
        notifications::tenant_id.eq(states::tenant_id).and(notifications::sequence.eq(states::sequence));
    let query = states::table
        .inner_join(notifications::table.on(both))
        .filter(states::tenant_id.eq(tenant.0).and(states::sequence.eq_any(sequences)))
        .filter(states::push_state.ne(push_number(PushProgress::None)))
        .select((state, event));
    let mut rows = HashMap::new();
    for row in query.load_iter::<Row, dialect::RowByRow>(conn)? {
        let (state, (event_type, event_time, created_by, extra)) = row?;
        let (sequence, push, attempts, last_processed_at, error, response_status, due_at) = state;
        rows.insert(
            sequence,
            DeliveryRow {
                sequence,
                event_type,
                event_time,
                created_by,
                change: change(&extra),
                push: push_progress(push),
                attempts,
                last_processed_at,
                error: error.and_then(attempt_error),
                response_status: response_status.and_then(|status| u16::try_from(status).ok()),
                next_attempt_at: due_at.filter(|due| *due != LEASED && *due != sequence),
            },
        );
    }
    if let Some((head, until)) = held(conn, tenant)?
        && let Some(row) = rows.get_mut(&head)
    {
        row.next_attempt_at = Some(until);
    }
    Ok(rows)
}

/// The change among the optional attributes of an event.
fn change(extra: &str) -> Option<Change> {
    #[derive(Deserialize)]
    struct Extra {
        change: Option<Change>,
    }
    serde_json::from_str::<Extra>(&format!("{{{extra}}}")).ok()?.change
}

#[cfg(test)]
pub(super) mod tests;
