//! The nodes that share a database, and whose the lanes are.

use super::{NodeId, Result, TenantId};
use crate::rules::notification::Micros;

/// What a node tells of itself.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    /// A name by which people know it.
    pub name: String,
    /// The version of the server.
    pub version: &'static str,
    /// Since when it runs.
    pub started_at: Micros,
    /// How many lanes are its own.
    pub lanes: i64,
    /// How many notifications it has leased.
    pub leases: i64,
}

/// Another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// When it last showed itself, by the clock that the database had then.
    pub seen_at: Micros,
    /// How many lanes are its own; none where it doesn't tell.
    pub lanes: Option<i64>,
}

/// A node as all can see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Which.
    pub node: NodeId,
    /// How long it has not been seen.
    pub silence: Micros,
    /// A name by which people know it; none where it doesn't tell.
    pub name: Option<String>,
    /// The version of the server.
    pub version: Option<String>,
    /// Since when it runs.
    pub started_at: Option<Micros>,
    /// How many lanes are its own.
    pub lanes: Option<i64>,
    /// How many notifications it has leased.
    pub leases: Option<i64>,
}

/// How lanes are let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// There is nothing to remember of them. Only those for which nothing is due by this time.
    Idle(Micros),
    /// Whatever waits. Whoever takes them knows nothing of what this node has sent, and takes care.
    Departing,
}

/// Nodes, and whose the lanes are.
pub trait NodeQueries {
    /// Notes that the node is alive, by the database's clock, and what it tells of itself. False: it wasn't known (any
    /// more); now it is.
    fn node_seen(&mut self, node: NodeId, vitals: &Vitals) -> Result<bool>;
    /// All nodes, in the order in which they started.
    fn node_list(&mut self) -> Result<Vec<NodeInfo>>;
    /// The other nodes.
    fn node_others(&mut self, node: NodeId) -> Result<Vec<Peer>>;
    /// Forgets nodes that were silent for so long and frees their leases. Answers how many leases were freed. Their lanes
    /// are free by that: they are those of a node that isn't known.
    fn node_reap(&mut self, silence: Micros) -> Result<usize>;
    /// Forgets another node, unless it has shown itself since. Its leases are then to be freed.
    fn node_bury(&mut self, peer: Peer) -> Result<()>;
    /// Frees the leases of nodes that are not known. Answers how many.
    fn node_free(&mut self) -> Result<usize>;
    /// Frees all leases of this node, which lives on.
    fn node_lose(&mut self, node: NodeId) -> Result<()>;
    /// Forgets the node and frees its leases.
    fn node_leave(&mut self, node: NodeId) -> Result<()>;
    /// Lets go those of these lanes that are the node's, where it has nothing leased. Answers which. The tenants must be
    /// locked.
    fn lanes_release(&mut self, tenants: &[TenantId], node: NodeId, how: Release) -> Result<Vec<TenantId>>;
}
