//! What can be asked about alerts: which states are raised, and what of it has yet to be told.
//!
//! A state of a tenant, such as a receiver that fails, is a row that is inserted when it begins and deleted when it
//! ends. The insert is the change of state: whichever node succeeds with it puts the alert into the outbox in the same
//! transaction, so several nodes and restarts neither repeat an alert nor lose one.

use tidings_api::alert::AlertKind;

use super::seam::{NodeId, Result, TenantId};
use crate::rules::alerts::STREAK;
use crate::rules::notification::Micros;

/// A state that is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedState {
    /// The tenant.
    pub tenant: TenantId,
    /// The state.
    pub kind: AlertKind,
    /// Since when.
    pub since: Micros,
    /// The tenant's last accepted push.
    pub last_success_at: Option<Micros>,
}

impl RaisedState {
    /// When a push was accepted since the state began, if it is one that lasts until then.
    pub fn ended_at(&self) -> Option<Micros> {
        self.last_success_at.filter(|success| STREAK.contains(&self.kind) && *success > self.since)
    }
}

/// What became of a state that was to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raising {
    /// It is raised, and will be told.
    Raised,
    /// It was raised before.
    Already,
    /// It has been told so often lately that it isn't raised before this time.
    Quiet(Micros),
}

/// How an alert is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// To `alerts.email`.
    Email,
    /// To `alerts.url`.
    Url,
}

impl Way {
    /// The name of its setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Email => "email",
            Way::Url => "url",
        }
    }
}

/// An alert in the outbox: once for each way.
#[derive(Clone, Debug)]
pub struct OutboxAlert {
    /// The tenant.
    pub tenant: TenantId,
    /// Its id on the wire: a UUID, the same for both ways.
    pub id: String,
    /// The way.
    pub way: Way,
    /// What it tells.
    pub kind: AlertKind,
    /// When it was raised.
    pub at: Micros,
    /// Since when it has been going on.
    pub since: Micros,
    /// The particulars; empty where there are none.
    pub detail: String,
    /// How often it was tried in vain.
    pub attempts: i32,
}

/// States and the outbox.
pub trait AlertQueries {
    /// Raises a state that began at a time and puts it into the outbox, unless it is raised already: a share of the
    /// retries also counts as raised where a larger one is. What comes and goes without end isn't told more than a few
    /// times an hour.
    fn alert_raise(
        &mut self,
        tenant: TenantId,
        kind: AlertKind,
        detail: &str,
        since: Micros,
        now: Micros,
    ) -> Result<Raising>;
    /// Ends the states of these kinds that began before a time. If that leaves none of them, and there was one, `told`
    /// goes into the outbox. Answers how many ended.
    fn alert_clear(
        &mut self,
        tenant: TenantId,
        kinds: &[AlertKind],
        begun_before: Micros,
        told: Option<AlertKind>,
        now: Micros,
    ) -> Result<usize>;
    /// Every state that is raised, of all tenants.
    fn alert_states(&mut self) -> Result<Vec<RaisedState>>;
    /// Leave to send a test by mail, or until when there is none: one within [`crate::rules::alerts::TESTS_APART`].
    fn alert_test(&mut self, tenant: TenantId, id: &str, now: Micros) -> Result<Option<Micros>>;
    /// The tenants that may have set `alerts.backlogAgeSeconds`.
    fn alert_backlog_tenants(&mut self) -> Result<Vec<TenantId>>;
    /// Whether the node could claim something, with the same arguments.
    fn alert_due(&mut self, node: NodeId, now: Micros, busy: &[(TenantId, Way)]) -> Result<bool>;
    /// Leases alerts that are due to the node, at most `limit`: of each tenant and way only the oldest that isn't told
    /// yet, so that they are told in their order, and nothing of those that are `busy`. What the node has leased before
    /// and not ended is leased again.
    fn alert_claim(
        &mut self,
        node: NodeId,
        now: Micros,
        limit: usize,
        busy: &[(TenantId, Way)],
    ) -> Result<Vec<OutboxAlert>>;
    /// Ends a lease: the alert is due again at this time, or never.
    fn alert_sent(&mut self, alert: &OutboxAlert, node: NodeId, again: Option<Micros>) -> Result<()>;
    /// Forgets everything about a tenant.
    fn alert_forget(&mut self, tenant: TenantId) -> Result<()>;
    /// Forgets what was put into the outbox before a time, and the states of tenants that are gone.
    fn alert_sweep(&mut self, before: Micros) -> Result<()>;
}
