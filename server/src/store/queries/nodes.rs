//! Nodes, and whose the lanes are.
//!
//! A lane is the node's that stands in `positions.lane_owner`, as long as that node stands in `nodes`. Whoever leases the
//! first notification of a lane that is nobody's takes it along, under the lock of the tenant's position; so there is one
//! at a time, and what it keeps to (concurrency, pace, order, probing) holds over all nodes.

use std::collections::{HashMap, HashSet};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::{Conn, dialect};
use crate::rules::notification::Micros;
use crate::store::rows::{LEASED, LockedRow, PositionRow};
use crate::store::schema::{nodes, positions, states};
use crate::store::seam::{NodeId, NodeInfo, NodeQueries, Peer, Release, Result, TenantId, Vitals};

/// Stands in `lane_owner` where a node has let a lane go that has something to remember. No node has this number.
const DEPARTED: i64 = -1;

/// Whose a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// This node's.
    Mine,
    /// Nobody's.
    Free,
    /// That of a node that is gone: nobody knows what it has sent lately.
    Inherited,
    /// Another node's.
    Elsewhere,
}

impl Lane {
    fn of(owner: Option<i64>, node: NodeId, is_known: impl FnOnce(i64) -> Result<bool>) -> Result<Self> {
        Ok(match owner {
            None => Lane::Free,
            Some(owner) if owner == node.0 => Lane::Mine,
            Some(owner) if is_known(owner)? => Lane::Elsewhere,
            Some(_) => Lane::Inherited,
        })
    }
}

/// A tenant's position, which is locked, and whose its lane is.
pub(super) struct Place {
    pub(super) position: PositionRow,
    pub(super) lane: Lane,
}

/// Locks the tenants and answers where they are.
pub(super) fn places(conn: &mut Conn, tenants: &[i64], node: NodeId) -> Result<HashMap<i64, Place>> {
    let rows = dialect::positions(conn, tenants)?;
    // The statement that locks doesn't see nodes that have joined while it was waiting for the lock. So one that it takes
    // for gone is looked for again.
    let unsure = rows.iter().filter(|row| !row.owner_is_known).filter_map(|row| row.lane_owner);
    let unsure: Vec<i64> = unsure.filter(|owner| *owner != node.0).collect();
    let known = if unsure.is_empty() { HashSet::new() } else { known(conn, unsure)? };
    let place = |row: LockedRow| {
        let is_known = |owner| Ok(row.owner_is_known || known.contains(&owner));
        let lane = Lane::of(row.lane_owner, node, is_known)?;
        Ok((row.position.tenant_id, Place { position: row.position, lane }))
    };
    rows.into_iter().map(place).collect()
}

/// Whose the lane of a tenant is that is locked.
pub(super) fn lane(conn: &mut Conn, owner: Option<i64>, node: NodeId) -> Result<Lane> {
    Lane::of(owner, node, |owner| Ok(known(conn, vec![owner])?.contains(&owner)))
}

/// Which of these nodes are known.
fn known(conn: &mut Conn, ids: Vec<i64>) -> Result<HashSet<i64>> {
    let rows = nodes::table.filter(nodes::id.eq_any(ids)).select(nodes::id).load::<i64>(conn)?;
    Ok(rows.into_iter().collect())
}

/// Makes a lane this node's.
pub(super) fn take(conn: &mut Conn, tenant: TenantId, node: NodeId) -> Result<()> {
    diesel::update(positions::table.find(tenant.0))
        .set(positions::lane_owner.eq(Some(node.0)))
        .execute(conn)?;
    Ok(())
}

/// A row of `nodes`.
#[derive(Queryable)]
struct NodeRow {
    id: i64,
    seen_at: Micros,
    name: Option<String>,
    version: Option<String>,
    started_at: Option<Micros>,
    lanes: Option<i64>,
    leases: Option<i64>,
}

impl NodeRow {
    fn info(self, now: Micros) -> NodeInfo {
        let NodeRow { id, seen_at, name, version, started_at, lanes, leases } = self;
        let silence = now.saturating_sub(seen_at).max(0);
        NodeInfo { node: NodeId(id), silence, name, version, started_at, lanes, leases }
    }
}

impl NodeQueries for Conn {
    fn node_seen(&mut self, node: NodeId, vitals: &Vitals) -> Result<bool> {
        let now = dialect::clock(self)?;
        let told = (
            nodes::seen_at.eq(now),
            nodes::name.eq(&vitals.name),
            nodes::version.eq(vitals.version),
            nodes::started_at.eq(vitals.started_at),
            nodes::lanes.eq(vitals.lanes),
            nodes::leases.eq(vitals.leases),
        );
        let known = diesel::update(nodes::table.find(node.0)).set(told).execute(self)? > 0;
        if !known {
            diesel::insert_into(nodes::table).values((nodes::id.eq(node.0), told)).execute(self)?;
        }
        Ok(known)
    }

    fn node_list(&mut self) -> Result<Vec<NodeInfo>> {
        let now = dialect::clock(self)?;
        let rows = nodes::table.order((nodes::started_at, nodes::id)).load::<NodeRow>(self)?;
        Ok(rows.into_iter().map(|row| row.info(now)).collect())
    }

    fn node_others(&mut self, node: NodeId) -> Result<Vec<Peer>> {
        let others = nodes::table.filter(nodes::id.ne(node.0));
        let others: Vec<(i64, Micros, Option<i64>)> =
            others.select((nodes::id, nodes::seen_at, nodes::lanes)).load(self)?;
        let peer = |(id, seen_at, lanes)| Peer { node: NodeId(id), seen_at, lanes };
        Ok(others.into_iter().map(peer).collect())
    }

    fn node_reap(&mut self, silence: Micros) -> Result<usize> {
        let now = dialect::clock(self)?;
        // One that was seen in the future was seen by the clock of a primary that is gone. If it lives, it shows itself again.
        let dead =
            nodes::seen_at.le(now.saturating_sub(silence)).or(nodes::seen_at.gt(now.saturating_add(silence)));
        let dead: Vec<i64> =
            diesel::delete(nodes::table.filter(dead)).returning(nodes::id).get_results(self)?;
        if dead.is_empty() { Ok(0) } else { self.node_free() }
    }

    fn node_bury(&mut self, peer: Peer) -> Result<()> {
        diesel::delete(nodes::table.find(peer.node.0).filter(nodes::seen_at.eq(peer.seen_at)))
            .execute(self)?;
        Ok(())
    }

    fn node_free(&mut self) -> Result<usize> {
        let leased = states::table
            .filter(sql::<Bool>("push_state = 1"))
            .filter(states::due_at.eq(LEASED))
            .filter(states::owner.ne_all(nodes::table.select(nodes::id.nullable())));
        Ok(diesel::update(leased)
            .set((states::owner.eq(None::<i64>), states::due_at.eq(states::sequence.nullable())))
            .execute(self)?)
    }

    fn node_lose(&mut self, node: NodeId) -> Result<()> {
        let leased = states::table
            .filter(sql::<Bool>("push_state = 1"))
            .filter(states::due_at.eq(LEASED))
            .filter(states::owner.eq(node.0));
        diesel::update(leased)
            .set((states::owner.eq(None::<i64>), states::due_at.eq(states::sequence.nullable())))
            .execute(self)?;
        Ok(())
    }

    fn node_leave(&mut self, node: NodeId) -> Result<()> {
        diesel::delete(nodes::table.find(node.0)).execute(self)?;
        self.node_free()?;
        Ok(())
    }

    fn lanes_release(&mut self, tenants: &[TenantId], node: NodeId, how: Release) -> Result<Vec<TenantId>> {
        let waits = "NOT EXISTS (SELECT 1 FROM states WHERE states.tenant_id = positions.tenant_id AND push_state = 1 AND";
        let mine = positions::table
            .filter(positions::tenant_id.eq_any(tenants.iter().map(|tenant| tenant.0)))
            .filter(positions::lane_owner.eq(node.0));
        let released: Vec<i64> = match how {
            Release::Idle(now) => diesel::update(
                mine.filter(sql::<Bool>(&format!("{waits} due_at = {LEASED})")))
                    .filter(sql::<Bool>(&format!("{waits} due_at <= ")).bind::<BigInt, _>(now).sql(")")),
            )
            .set(positions::lane_owner.eq(None::<i64>))
            .returning(positions::tenant_id)
            .get_results(self)?,
            Release::Departing => diesel::update(
                mine.filter(
                    sql::<Bool>(&format!("{waits} due_at = {LEASED} AND owner = "))
                        .bind::<BigInt, _>(node.0)
                        .sql(")"),
                ),
            )
            .set(positions::lane_owner.eq(Some(DEPARTED)))
            .returning(positions::tenant_id)
            .get_results(self)?,
        };
        Ok(released.into_iter().map(TenantId).collect())
    }
}
