//! Figures, each from the rows of one index, and no more of them than a limit.

mod attempts;

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::{Conn, dialect};
use crate::rules::alerts::STOPPED;
use crate::rules::notification::{Micros, PushProgress};
use crate::store::rows::PUT_OFF;
use crate::store::runs::{Class, classes, list};
use crate::store::schema::{alert_states, positions};
use crate::store::seam::{NotificationQueries, Result, TenantId};
use crate::store::statistics::{Bucket, Counts, StatisticsQueries, Trouble};

/// So many notifications, spread over all, tell the shares of what can't be counted.
const SAMPLE: i64 = 1000;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct FlagRow {
    #[diesel(sql_type = BigInt)]
    undismissed: i64,
    #[diesel(sql_type = BigInt)]
    unread: i64,
    #[diesel(sql_type = BigInt)]
    flagged: i64,
}

#[derive(QueryableByName)]
struct TroubleRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    at: Option<i64>,
}

fn number(conn: &mut Conn, statement: String) -> Result<i64> {
    Ok(diesel::sql_query(statement).get_result::<Number>(conn)?.value)
}

/// Counts the states of a tenant for which a condition holds. In the order of the index that serves, or else the database
/// may think that all rows are read as quickly.
fn count(conn: &mut Conn, tenant: i64, condition: &str, order: &str, most: i64) -> Result<i64> {
    number(
        conn,
        format!(
            "SELECT count(*) AS value FROM (SELECT 1 FROM states WHERE tenant_id = {tenant} AND {condition} \
             ORDER BY {order} LIMIT {most}) AS counted"
        ),
    )
}

/// The classes of a tenant.
fn all_classes(conn: &mut Conn, tenant: i64) -> Result<Vec<i64>> {
    let found: Vec<Number> = diesel::sql_query(classes(tenant)).load(conn)?;
    Ok(found.into_iter().map(|class| class.value).collect())
}

/// The statement that finds tenants with such states, one by one by as many steps in an index that begins with them, and
/// for each a time: `at` of `steps.id`.
fn tenants_with(condition: &str, at: &str, most: usize) -> String {
    let next = format!("SELECT min(tenant_id) FROM states WHERE {condition}");
    format!(
        "WITH RECURSIVE steps (id, number) AS (SELECT ({next}), 1 UNION ALL \
         SELECT ({next} AND tenant_id > steps.id), number + 1 FROM steps \
         WHERE steps.id IS NOT NULL AND number < {most}) \
         SELECT steps.id AS id, {at} AS at FROM steps WHERE steps.id IS NOT NULL \
         AND EXISTS (SELECT 1 FROM positions WHERE positions.tenant_id = steps.id)"
    )
}

impl StatisticsQueries for Conn {
    fn counts(&mut self, tenant: TenantId, most: i64) -> Result<Counts> {
        let position = self.position(tenant)?;
        let total = position.last_sequence - position.removed_through;
        let id = tenant.0;
        dialect::by_index(self, |conn| {
            let flags: FlagRow = diesel::sql_query(format!(
                "SELECT count(*) AS undismissed, count(CASE WHEN is_read THEN NULL ELSE 1 END) AS unread, \
                 count(CASE WHEN is_flagged THEN 1 END) AS flagged FROM (SELECT is_read, is_flagged FROM states \
                 WHERE tenant_id = {id} AND NOT is_dismissed ORDER BY sequence DESC LIMIT {most}) AS newest"
            ))
            .get_result(conn)?;
            let pending = count(conn, id, "push_state = 1", "due_at, sequence", most)?;
            let failed = count(conn, id, "push_state = 3", "processed_at", most)?;
            let mut delivered = 0;
            for class in all_classes(conn, id)? {
                if Class(class).push() == PushProgress::Delivered && delivered < most {
                    let of_class = format!("push_state <> 0 AND class = {class}");
                    delivered += count(conn, id, &of_class, "class, sequence", most - delivered)?;
                }
            }
            let rest = (total - pending - failed).max(0);
            if delivered >= most {
                // Evenly spread, so that what came before there was a URL has its share.
                let spread = (0..SAMPLE).map(|nth| position.removed_through + 1 + total * nth / SAMPLE);
                let some = format!("sequence IN ({}) AND push_state", list(spread));
                let with = count(conn, id, &format!("{some} = 2"), "sequence", SAMPLE)?;
                let without = count(conn, id, &format!("{some} = 0"), "sequence", SAMPLE)?;
                delivered = (rest * with).checked_div(with + without).unwrap_or(rest).max(most);
            }
            Ok(Counts {
                total,
                undismissed: flags.undismissed,
                unread: flags.unread,
                flagged: flags.flagged,
                none: (rest - delivered).max(0),
                pending,
                delivered,
                failed,
                flags_are_complete: flags.undismissed < most,
                push_is_complete: pending.max(failed).max(delivered) < most,
            })
        })
    }

    fn attempts_between(&mut self, tenant: TenantId, times: &[Micros], most: usize) -> Result<Vec<Bucket>> {
        dialect::by_index(self, |conn| {
            let mut classes = all_classes(conn, tenant.0)?;
            classes.retain(|class| Class(*class).is_processed());
            attempts::between(conn, tenant.0, &classes, times, most)
        })
    }

    fn failed_since(&mut self, tenant: TenantId, since: Micros, most: i64) -> Result<i64> {
        let failed = format!("push_state = 3 AND processed_at >= {since}");
        dialect::by_index(self, |conn| count(conn, tenant.0, &failed, "processed_at", most))
    }

    fn stopped_since(&mut self, tenant: TenantId) -> Result<Option<Micros>> {
        let kinds = STOPPED.map(tidings_api::alert::AlertKind::as_str);
        Ok(alert_states::table
            .filter(alert_states::tenant_id.eq(tenant.0).and(alert_states::kind.eq_any(kinds)))
            .order(alert_states::since.desc())
            .select(alert_states::since)
            .first(self)
            .optional()?)
    }

    fn tenant_count(&mut self, most: i64) -> Result<i64> {
        // Narrower rows than those of the tenants, and one for each that isn't deleted.
        let some = positions::table.select(positions::tenant_id).limit(most);
        let ids: Vec<i64> = some.load(self)?;
        Ok(i64::try_from(ids.len()).unwrap_or(most))
    }

    fn troubles(&mut self, most: usize) -> Result<(Vec<Trouble>, bool)> {
        let failed = tenants_with(
            "push_state = 3",
            "(SELECT max(processed_at) FROM states WHERE tenant_id = steps.id AND push_state = 3)",
            most,
        );
        // What is due at once has its sequence for due_at; what is being sent is none that waits.
        let waiting = tenants_with(
            "push_state = 1",
            &format!(
                "(SELECT min(received_at) FROM notifications WHERE tenant_id = steps.id AND sequence IN (\
                 (SELECT min(due_at) FROM states WHERE tenant_id = steps.id AND push_state = 1), \
                 (SELECT min(sequence) FROM states WHERE tenant_id = steps.id AND {PUT_OFF})))"
            ),
            most,
        );
        let stopped = format!(
            "SELECT id, CAST(NULL AS BIGINT) AS at FROM tenants WHERE push_stopped IS NOT NULL \
             AND deleted_at IS NULL ORDER BY id LIMIT {most}"
        );
        dialect::by_index(self, |conn| {
            let mut found: BTreeMap<i64, Trouble> = BTreeMap::new();
            let mut is_complete = true;
            for statement in [stopped, failed, waiting].iter().enumerate() {
                let rows: Vec<TroubleRow> = diesel::sql_query(statement.1).load(conn)?;
                is_complete &= rows.len() < most;
                for row in rows {
                    let trouble = found.entry(row.id).or_insert(Trouble {
                        tenant: TenantId(row.id),
                        stopped: false,
                        failed_at: None,
                        waiting_since: None,
                    });
                    match statement.0 {
                        0 => trouble.stopped = true,
                        1 => trouble.failed_at = row.at,
                        _ => trouble.waiting_since = row.at,
                    }
                }
            }
            Ok((found.into_values().collect(), is_complete))
        })
    }
}

#[cfg(test)]
mod tests;
