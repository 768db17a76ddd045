//! Rows as they are stored, and what they mean.

use std::borrow::Cow;
use std::sync::Arc;

use diesel::prelude::*;
use tidings_api::delivery::{AttemptError, AttemptReason};

use super::schema::{api_keys, attempts, notifications, positions, states, tenants};
use super::seam::{ApiKey, AttemptRecord, Position, ResourceKind, Tenant, TenantId};
use crate::rules::notification::{Content, PushProgress, State, StoredNotification};

/// `due_at` of a notification that a node has.
pub(super) const LEASED: i64 = i64::MAX;
/// `push_state` of a pending notification; the index `states_pending` holds only these.
pub(super) const PENDING: i16 = 1;
/// What is put off, in the words of the index `states_put_off`.
pub(super) const PUT_OFF: &str = "push_state = 1 AND due_at <> sequence AND due_at < 9223372036854775807";

/// How a push state is stored.
pub(super) fn push_number(progress: PushProgress) -> i16 {
    match progress {
        PushProgress::None => 0,
        PushProgress::Pending => PENDING,
        PushProgress::Delivered => 2,
        PushProgress::Failed => 3,
    }
}

pub(super) fn push_progress(number: i16) -> PushProgress {
    match number {
        PENDING => PushProgress::Pending,
        2 => PushProgress::Delivered,
        3 => PushProgress::Failed,
        _ => PushProgress::None,
    }
}

/// How the reason of an attempt is stored. These numbers stay as they are for good.
fn reason_number(reason: AttemptReason) -> i16 {
    match reason {
        AttemptReason::First => 1,
        AttemptReason::Retry => 2,
        AttemptReason::Repush => 3,
        AttemptReason::Probe => 4,
    }
}

/// How an error of an attempt is stored. These numbers stay as they are for good.
pub(super) fn error_number(error: AttemptError) -> i16 {
    match error {
        AttemptError::Dns => 1,
        AttemptError::Connect => 2,
        AttemptError::Tls => 3,
        AttemptError::Timeout => 4,
        AttemptError::BlockedAddress => 5,
        AttemptError::Protocol => 6,
        AttemptError::Status => 7,
        AttemptError::Rejected => 8,
        AttemptError::Gone => 9,
        AttemptError::Token => 10,
        AttemptError::TooLarge => 11,
        AttemptError::Expired => 12,
        AttemptError::Skipped => 13,
        AttemptError::Internal => 14,
    }
}

/// The error that is stored under this number.
pub(super) fn attempt_error(number: i16) -> Option<AttemptError> {
    AttemptError::ALL.iter().copied().find(|error| error_number(*error) == number)
}

/// How a kind of resource is stored.
pub(super) fn kind_number(kind: ResourceKind) -> i16 {
    match kind {
        ResourceKind::User => 0,
        ResourceKind::Entity => 1,
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = tenants)]
pub(super) struct TenantRow {
    id: i64,
    public_id: String,
    name: String,
    created_at: i64,
    settings: String,
    version: i64,
    push_stopped: Option<String>,
    push_disabled: bool,
    push_resumed_at: i64,
    may_reach_loopback: bool,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Tenant {
        Tenant {
            id: TenantId(row.id),
            public_id: row.public_id,
            name: row.name,
            created_at: row.created_at,
            settings: row.settings,
            version: row.version,
            push_stopped: row.push_stopped,
            push_disabled: row.push_disabled,
            push_resumed_at: row.push_resumed_at,
            may_reach_loopback: row.may_reach_loopback,
        }
    }
}

#[derive(Insertable)]
#[diesel(table_name = tenants)]
pub(super) struct TenantInsert<'a> {
    pub(super) public_id: &'a str,
    pub(super) name: &'a str,
    pub(super) created_at: i64,
    pub(super) settings: &'a str,
    pub(super) version: i64,
    pub(super) push_resumed_at: i64,
    pub(super) may_reach_loopback: bool,
    pub(super) tells_of_backlog: bool,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
pub(super) struct KeyRow {
    pub(super) tenant_id: i64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) created_at: i64,
    pub(super) last_used_at: Option<i64>,
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> ApiKey {
        ApiKey {
            tenant: TenantId(row.tenant_id),
            id: row.id,
            name: row.name,
            role: row.role,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
        }
    }
}

#[derive(Queryable, Selectable, Insertable, Clone, Copy)]
#[diesel(table_name = positions)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct PositionRow {
    pub(super) tenant_id: i64,
    pub(super) version: i64,
    pub(super) last_sequence: i64,
    pub(super) removed_through: i64,
    pub(super) last_success_at: Option<i64>,
}

/// A position that is locked.
pub(super) struct LockedRow {
    pub(super) position: PositionRow,
    /// The node whose the lane is.
    pub(super) lane_owner: Option<i64>,
    /// Whether that node was seen among the nodes. If not, it is to be looked for again, now that the row is locked.
    pub(super) owner_is_known: bool,
}

impl From<PositionRow> for Position {
    fn from(row: PositionRow) -> Position {
        Position {
            last_sequence: row.last_sequence,
            removed_through: row.removed_through,
            last_success_at: row.last_success_at,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = notifications)]
pub(super) struct ContentRow {
    event_type: String,
    created_at: i64,
    received_at: i64,
    comment: Option<String>,
    extra: String,
    entity: Option<String>,
    created_by: Option<String>,
    included: String,
}

impl From<ContentRow> for Content {
    fn from(row: ContentRow) -> Content {
        Content {
            event_type: row.event_type,
            created_at: row.created_at,
            received_at: row.received_at,
            comment: row.comment,
            extra: row.extra,
            entity: row.entity,
            created_by: row.created_by,
            included: row.included,
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = states)]
pub(super) struct StateRow {
    pub(super) sequence: i64,
    is_dismissed: bool,
    is_read: bool,
    is_flagged: bool,
    push_state: i16,
    attempts: i32,
    attempts_before: i32,
    due_at: Option<i64>,
}

/// The time at which a notification with this `due_at` is due: none while a node has it; that of its receipt where it is
/// due at once, which is stored as its sequence.
pub(super) fn due_time(due_at: Option<i64>, sequence: i64, received_at: i64) -> Option<i64> {
    due_at.filter(|due| *due != LEASED).map(|due| if due == sequence { received_at } else { due })
}

/// A notification from its two rows.
pub(super) fn stored((state, content): (StateRow, ContentRow)) -> StoredNotification {
    let next_attempt_at = due_time(state.due_at, state.sequence, content.received_at);
    StoredNotification {
        sequence: state.sequence,
        content: Arc::new(content.into()),
        state: State {
            is_dismissed: state.is_dismissed,
            is_read: state.is_read,
            is_flagged: state.is_flagged,
            push: push_progress(state.push_state),
            attempts: state.attempts,
            attempts_before: state.attempts_before,
            next_attempt_at,
        },
    }
}

#[derive(Insertable)]
#[diesel(table_name = notifications)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct NotificationInsert<'a> {
    pub(super) tenant_id: i64,
    pub(super) sequence: i64,
    pub(super) event_type: &'a str,
    pub(super) created_at: i64,
    pub(super) received_at: i64,
    pub(super) comment: Option<&'a str>,
    pub(super) extra: &'a str,
    pub(super) entity: Option<&'a str>,
    pub(super) created_by: Option<&'a str>,
    pub(super) included: &'a str,
    pub(super) idempotency_key: Option<&'a [u8]>,
    pub(super) body_hash: Option<&'a [u8]>,
}

#[derive(Insertable)]
#[diesel(table_name = states)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct StateInsert {
    pub(super) tenant_id: i64,
    pub(super) sequence: i64,
    pub(super) is_dismissed: bool,
    pub(super) is_read: bool,
    pub(super) is_flagged: bool,
    pub(super) push_state: i16,
    pub(super) attempts: i32,
    pub(super) due_at: Option<i64>,
    pub(super) owner: Option<i64>,
    pub(super) size: i32,
}

/// What a batch of events says about a user or an entity. `included_in` is 0 where it was only named.
pub(super) struct ResourceRow<'a> {
    pub(super) tenant_id: i64,
    pub(super) kind: i16,
    pub(super) id: &'a str,
    pub(super) included_in: i64,
    pub(super) named_by: i64,
}

/// How far a tenant is after a batch.
pub(super) struct NewPosition {
    pub(super) tenant: i64,
    /// Its newest sequence.
    pub(super) last: i64,
    /// The node whose the lane is from now on, where that changes.
    pub(super) owner: Option<i64>,
}

/// All rows of a batch of events.
pub(super) struct BatchRows<'a> {
    pub(super) notifications: Vec<NotificationInsert<'a>>,
    pub(super) states: Vec<StateInsert>,
    pub(super) resources: Vec<ResourceRow<'a>>,
    pub(super) positions: Vec<NewPosition>,
}

/// A lease that is given up.
pub(super) struct HandedBack {
    pub(super) tenant_id: i64,
    pub(super) sequence: i64,
    /// How many attempts there had been when it was leased.
    pub(super) attempts: i32,
    pub(super) due_at: i64,
}

/// The end of an attempt: what becomes of the state, and the row of the log.
pub(super) struct AttemptEnd<'a> {
    pub(super) tenant_id: i64,
    pub(super) sequence: i64,
    /// How many there had been before it.
    pub(super) attempts: i32,
    pub(super) push_state: i16,
    pub(super) due_at: Option<i64>,
    pub(super) dismiss: bool,
    pub(super) processed_at: i64,
    pub(super) log: Option<LogRow<'a>>,
}

/// An attempt as it is logged.
pub(super) struct LogRow<'a> {
    pub(super) started_at: i64,
    pub(super) duration_ms: i32,
    pub(super) url: &'a str,
    pub(super) address: Option<&'a str>,
    pub(super) reason: i16,
    pub(super) response_status: Option<i16>,
    pub(super) response_text: Cow<'a, str>,
    pub(super) error: Option<i16>,
}

impl<'a> From<&'a AttemptRecord> for LogRow<'a> {
    fn from(record: &'a AttemptRecord) -> Self {
        let text = &record.response_text;
        LogRow {
            started_at: record.started_at,
            duration_ms: record.duration_ms,
            url: &record.url,
            address: record.address.as_deref(),
            reason: reason_number(record.reason),
            response_status: record.response_status,
            // The one character that PostgreSQL doesn't take, and receivers may send what they like.
            response_text: if text.contains('\0') {
                text.replace('\0', "\u{fffd}").into()
            } else {
                text.into()
            },
            error: record.error.map(error_number),
        }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = attempts)]
pub(super) struct AttemptRow {
    started_at: i64,
    duration_ms: i32,
    url: String,
    address: Option<String>,
    reason: i16,
    response_status: Option<i16>,
    response_text: String,
    error: Option<i16>,
}

impl From<AttemptRow> for AttemptRecord {
    fn from(row: AttemptRow) -> AttemptRecord {
        let reason = AttemptReason::ALL.iter().copied().find(|reason| reason_number(*reason) == row.reason);
        AttemptRecord {
            started_at: row.started_at,
            duration_ms: row.duration_ms,
            url: row.url.into(),
            address: row.address,
            reason: reason.unwrap_or(AttemptReason::Retry),
            response_status: row.response_status,
            response_text: row.response_text,
            error: row.error.and_then(attempt_error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_and_every_reason_comes_back_from_its_number() {
        for error in AttemptError::ALL {
            assert_eq!(attempt_error(error_number(*error)), Some(*error));
        }
        let numbers: std::collections::BTreeSet<i16> =
            AttemptReason::ALL.iter().map(|reason| reason_number(*reason)).collect();
        assert_eq!(numbers.len(), AttemptReason::ALL.len());
        assert_eq!(attempt_error(0), None);
    }
}
