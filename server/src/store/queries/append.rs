//! Storing events: sequences are given out here, in the transaction that commits them.

use std::collections::HashMap;

use diesel::prelude::*;

use super::nodes::{Lane, Place, places};
use super::{Conn, dialect};
use crate::rules::notification::PushProgress;
use crate::store::rooms::Rooms;
use crate::store::rows::{
    BatchRows, LEASED, NewPosition, NotificationInsert, ResourceRow, StateInsert, kind_number, push_number,
};
use crate::store::schema::notifications;
use crate::store::seam::{Append, AppendQueries, Appended, NodeId, Result, TenantId};

impl AppendQueries for Conn {
    fn lock(&mut self, tenants: &[TenantId]) -> Result<()> {
        dialect::positions(self, &tenants.iter().map(|tenant| tenant.0).collect::<Vec<_>>())?;
        Ok(())
    }

    fn append(&mut self, events: &[&Append], node: NodeId, rooms: &Rooms) -> Result<Vec<Appended>> {
        let mut tenants: Vec<i64> = events.iter().map(|event| event.tenant.0).collect();
        tenants.sort_unstable();
        tenants.dedup();
        let mut places = places(self, &tenants, node)?;
        let mut taken = HashMap::new();
        let mut known = stored_keys(self, events)?;

        let mut batch = Batch::default();
        let mut results = Vec::with_capacity(events.len());
        for event in events {
            let Some(Place { position, lane }) = places.get_mut(&event.tenant.0) else {
                results.push(Appended::NoTenant);
                continue;
            };
            if position.version != event.version {
                results.push(Appended::Stale);
                continue;
            }
            if let Some(idempotency) = &event.idempotency {
                match known.get(&(event.tenant.0, idempotency.key)) {
                    Some((sequence, body)) if *body == idempotency.body => {
                        results.push(Appended::Duplicate { sequence: *sequence });
                        continue;
                    }
                    Some(_) => {
                        results.push(Appended::Conflict);
                        continue;
                    }
                    None => {}
                }
            }
            position.last_sequence += 1;
            let sequence = position.last_sequence;
            if let Some(idempotency) = &event.idempotency {
                known.insert((event.tenant.0, idempotency.key), (sequence, idempotency.body));
            }
            // What another node's lane is to have waits in the database, where that node finds it.
            let leased = event.has_url
                && event.push_now
                && *lane != Lane::Elsewhere
                && rooms.take(event.tenant, event.content.size(), event.fifo);
            if leased && *lane != Lane::Mine {
                taken.insert(event.tenant.0, *lane);
                *lane = Lane::Mine;
            }
            batch.add(event, sequence, leased.then_some(node));
            results.push(Appended::Stored { sequence, leased });
        }
        let positions = places.into_iter().map(|(tenant, place)| NewPosition {
            tenant,
            last: place.position.last_sequence,
            owner: taken.contains_key(&tenant).then_some(node.0),
        });
        let written = batch.write(self, positions.collect());
        if written.is_err() {
            for (event, result) in events.iter().zip(&results) {
                if matches!(result, Appended::Stored { leased: true, .. }) {
                    rooms.give_back(event.tenant, event.content.size());
                }
            }
        }
        for (tenant, lane) in taken {
            if lane == Lane::Inherited {
                rooms.inherit(TenantId(tenant));
            }
        }
        written.map(|()| results)
    }
}

/// Tenant and key, and what stands under them: the sequence and the body's hash.
type Keys = HashMap<(i64, [u8; 16]), (i64, [u8; 16])>;

/// What is stored already under the idempotency keys of these events.
fn stored_keys(conn: &mut Conn, events: &[&Append]) -> Result<Keys> {
    let mut keys: HashMap<i64, Vec<&[u8]>> = HashMap::new();
    for event in events {
        if let Some(idempotency) = &event.idempotency {
            keys.entry(event.tenant.0).or_default().push(&idempotency.key);
        }
    }
    let mut known = HashMap::new();
    for (tenant, keys) in keys {
        let rows = notifications::table
            .filter(notifications::tenant_id.eq(tenant))
            .filter(notifications::idempotency_key.eq_any(keys))
            .select((notifications::idempotency_key, notifications::sequence, notifications::body_hash))
            .load::<(Option<Vec<u8>>, i64, Option<Vec<u8>>)>(conn)?;
        for (key, sequence, body) in rows {
            if let (Some(Ok(key)), Some(Ok(body))) = (key.map(TryInto::try_into), body.map(TryInto::try_into))
            {
                known.insert((tenant, key), (sequence, body));
            }
        }
    }
    Ok(known)
}

/// The rows of a batch.
#[derive(Default)]
struct Batch<'a> {
    notifications: Vec<NotificationInsert<'a>>,
    states: Vec<StateInsert>,
    // Each user and entity once: the newest mention wins, and no statement meets a row twice.
    resources: HashMap<(i64, i16, &'a str), (i64, i64)>,
}

impl<'a> Batch<'a> {
    fn add(&mut self, event: &'a Append, sequence: i64, owner: Option<NodeId>) {
        let content = &*event.content;
        let tenant_id = event.tenant.0;
        self.notifications.push(NotificationInsert {
            tenant_id,
            sequence,
            event_type: &content.event_type,
            created_at: content.created_at,
            received_at: content.received_at,
            comment: content.comment.as_deref(),
            extra: &content.extra,
            entity: content.entity.as_deref(),
            created_by: content.created_by.as_deref(),
            included: &content.included,
            idempotency_key: event.idempotency.as_ref().map(|idempotency| &idempotency.key[..]),
            body_hash: event.idempotency.as_ref().map(|idempotency| &idempotency.body[..]),
        });
        let (push, due_at) = match (event.has_url, owner) {
            (false, _) => (PushProgress::None, None),
            // At once, in the order of the sequence.
            (true, None) => (PushProgress::Pending, Some(sequence)),
            (true, Some(_)) => (PushProgress::Pending, Some(LEASED)),
        };
        self.states.push(StateInsert {
            tenant_id,
            sequence,
            is_dismissed: false,
            is_read: false,
            is_flagged: false,
            push_state: push_number(push),
            attempts: 0,
            due_at,
            owner: owner.map(|node| node.0),
            size: i32::try_from(content.size()).unwrap_or(i32::MAX),
        });
        for (kind, id, included) in &event.resources {
            let row = self.resources.entry((tenant_id, kind_number(*kind), id)).or_default();
            *row = (if *included { sequence } else { row.0 }, sequence);
        }
    }

    fn write(self, conn: &mut Conn, positions: Vec<NewPosition>) -> Result<()> {
        if self.notifications.is_empty() {
            return Ok(());
        }
        let resource = |((tenant_id, kind, id), (included_in, named_by))| ResourceRow {
            tenant_id,
            kind,
            id,
            included_in,
            named_by,
        };
        let rows = BatchRows {
            notifications: self.notifications,
            states: self.states,
            resources: self.resources.into_iter().map(resource).collect(),
            positions,
        };
        dialect::insert(conn, &rows)
    }
}
