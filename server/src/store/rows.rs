//! Rows as they are stored, and what they mean.

use std::sync::Arc;

use diesel::prelude::*;

use super::schema::{api_keys, notifications, positions, states, tenants};
use super::seam::{ApiKey, Position, ResourceKind, Tenant, TenantId};
use crate::rules::notification::{Content, PushProgress, State, StoredNotification};

/// `due_at` of a notification that a node has.
pub(super) const LEASED: i64 = i64::MAX;
/// `push_state` of a pending notification; the index `states_pending` holds only these.
pub(super) const PENDING: i16 = 1;

/// How a push state is stored.
pub(super) fn push_number(progress: PushProgress) -> i16 {
    match progress {
        PushProgress::None => 0,
        PushProgress::Pending => PENDING,
        PushProgress::Delivered => 2,
        PushProgress::Failed => 3,
    }
}

fn push_progress(number: i16) -> PushProgress {
    match number {
        PENDING => PushProgress::Pending,
        2 => PushProgress::Delivered,
        3 => PushProgress::Failed,
        _ => PushProgress::None,
    }
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
    pub(super) may_reach_loopback: bool,
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
    due_at: Option<i64>,
}

/// A notification from its two rows.
pub(super) fn stored((state, content): (StateRow, ContentRow)) -> StoredNotification {
    StoredNotification {
        sequence: state.sequence,
        content: Arc::new(content.into()),
        state: State {
            is_dismissed: state.is_dismissed,
            is_read: state.is_read,
            is_flagged: state.is_flagged,
            push: push_progress(state.push_state),
            attempts: state.attempts,
            next_attempt_at: state.due_at.filter(|due| *due != LEASED),
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
