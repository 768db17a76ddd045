//! Notices what alerts tell of. It stands on the way of every failed attempt, so it only looks into memory there.
//!
//! What is news goes to the store soon after, by `alerts`: there it is decided, for all nodes, whether it really is. What
//! is remembered here may lag behind; it only keeps the store from being asked for each attempt.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_api::alert::AlertKind;
use tidings_api::delivery::AttemptError;

use crate::directory::TenantEntry;
use crate::rules::alerts::{STOPPED, at_least, mark};
use crate::rules::notification::Micros;
use crate::store::alerts::RaisedState;
use crate::store::seam::{AttemptRecord, Queries, Result, TenantId};

/// What was noticed and isn't in the store yet.
#[derive(Debug)]
pub(crate) struct Noticed {
    pub(crate) tenant: TenantId,
    pub(crate) kind: AlertKind,
    pub(crate) detail: String,
    /// When it happened.
    pub(crate) at: Micros,
}

/// What is known of the tenants' states.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    raised: HashMap<TenantId, Vec<AlertKind>>,
    /// Told so often lately that the store needn't be asked before this time.
    quiet: HashMap<(TenantId, AlertKind), Micros>,
    noticed: Vec<Noticed>,
    /// The last failures that were no news: the streak that they were taken for may have ended before.
    repeated: HashMap<TenantId, Vec<Noticed>>,
}

impl Watch {
    /// An attempt failed, or none could be made of a notification that is given up.
    ///
    /// `failed` of `allowed` attempts of the notification's schedule have failed, this one among them. `record` is what
    /// the log keeps of it. Successes need not be told: the store knows them. Never waits.
    pub fn failed(
        &self,
        tenant: TenantId,
        entry: &TenantEntry,
        (failed, allowed): (u32, u32),
        record: Option<&AttemptRecord>,
        now: Micros,
    ) {
        let alerts = &entry.settings.alerts;
        if alerts.email.is_none() && alerts.url.is_none() {
            return;
        }
        let mut known = self.lock();
        for kind in [Some(AlertKind::Failing), mark(failed, allowed)].into_iter().flatten() {
            let noticed = Noticed { tenant, kind, detail: detail(failed, allowed, record), at: now };
            known.notice(noticed, now);
        }
    }

    /// What was noticed since the last time.
    pub(crate) fn take(&self) -> Vec<Noticed> {
        std::mem::take(&mut self.lock().noticed)
    }

    /// Takes back what could not be stored, before what was noticed since.
    pub(crate) fn put_back(&self, noticed: impl IntoIterator<Item = Noticed>) {
        self.lock().noticed.splice(0..0, noticed);
    }

    /// Don't ask the store for this before the time.
    pub(crate) fn quiet(&self, tenant: TenantId, kind: AlertKind, until: Micros) {
        self.lock().quiet.insert((tenant, kind), until);
    }

    /// Learns what is raised, by whichever node.
    pub(crate) fn learn(&self, states: &[RaisedState], now: Micros) {
        let mut known = self.lock();
        known.quiet.retain(|_, until| *until > now);
        known.raised.clear();
        let noticed: Vec<_> = known.noticed.iter().map(|noticed| (noticed.tenant, noticed.kind)).collect();
        let lasting = states.iter().filter(|state| state.ended_at().is_none());
        let raised = lasting.map(|state| (state.tenant, state.kind));
        for (tenant, kind) in raised.chain(noticed) {
            known.raised.entry(tenant).or_default().push(kind);
        }
        // What failed after the success that ended a streak begins the next.
        for (tenant, repeated) in std::mem::take(&mut known.repeated) {
            let of_tenant = || states.iter().filter(|state| state.tenant == tenant);
            let ended = of_tenant().filter_map(RaisedState::ended_at).max();
            let goes_on = of_tenant().next().is_some();
            for noticed in repeated {
                if ended.is_some_and(|success| noticed.at > success) || (ended.is_none() && goes_on) {
                    known.notice(noticed, now);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// What was noticed is news, or is kept for the case that it turns out to be.
    fn notice(&mut self, noticed: Noticed, now: Micros) {
        let (tenant, kind) = (noticed.tenant, noticed.kind);
        if self.is_news(tenant, kind, now) {
            self.raised.entry(tenant).or_default().push(kind);
            self.noticed.push(noticed);
        } else if self.raised.contains_key(&tenant) {
            let repeated = self.repeated.entry(tenant).or_default();
            repeated.retain(|earlier| earlier.kind != kind);
            repeated.push(noticed);
        }
    }

    fn is_news(&self, tenant: TenantId, kind: AlertKind, now: Micros) -> bool {
        let raised = self.raised.get(&tenant).map_or(&[][..], Vec::as_slice);
        let is_raised = raised.contains(&kind) || at_least(kind).any(|larger| raised.contains(&larger));
        !is_raised && self.quiet.get(&(tenant, kind)).is_none_or(|until| *until <= now)
    }
}

/// What is said of a failed attempt. Nothing of the receiver's answer but its status.
fn detail(failed: u32, allowed: u32, record: Option<&AttemptRecord>) -> String {
    let attempts = format!("{failed} of {} attempts of a notification have failed", allowed.max(failed));
    let Some(record) = record else { return attempts };
    let error = match (record.error, record.response_status) {
        (Some(error @ (AttemptError::Status | AttemptError::Rejected)), Some(status)) => {
            format!("{} (the receiver answered {status})", error.as_str())
        }
        (Some(error), _) => error.as_str().to_owned(),
        (None, _) => return attempts,
    };
    format!("{attempts}; the last error: {error}")
}

/// The push was stopped: for want of success (`disabled`), or by the receiver's 410. Call it in the transaction of
/// `push_stop`, if that has stopped it.
///
/// # Errors
/// Those of the store.
pub fn stopped(
    conn: &mut dyn Queries,
    tenant: TenantId,
    disabled: bool,
    reason: &str,
    now: Micros,
) -> Result<()> {
    let kind = if disabled { AlertKind::Disabled } else { AlertKind::Paused };
    conn.alert_raise(tenant, kind, reason, now, now)?;
    Ok(())
}

/// An admin has set the URL or resumed the push. Call it in the transaction of `settings_put` with `resume`: it tells
/// that the push goes on, if it had been stopped, and nothing otherwise.
///
/// # Errors
/// Those of the store.
pub fn resumed(conn: &mut dyn Queries, tenant: TenantId, now: Micros) -> Result<()> {
    conn.alert_clear(tenant, &STOPPED, Micros::MAX, Some(AlertKind::Resumed), now)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::for_tests(1);

    fn fail(watch: &Watch, kind: AlertKind, at: Micros) {
        watch.lock().notice(Noticed { tenant: TENANT, kind, detail: String::new(), at }, at);
    }

    fn taken(watch: &Watch) -> Vec<AlertKind> {
        watch.take().into_iter().map(|noticed| noticed.kind).collect()
    }

    fn learn(watch: &Watch, success: Option<Micros>, now: Micros) {
        let (tenant, kind) = (TENANT, AlertKind::Failing);
        watch.learn(&[RaisedState { tenant, kind, since: 10, last_success_at: success }], now);
    }

    #[test]
    fn what_fails_after_the_success_that_ends_a_streak_begins_the_next() {
        let watch = Watch::default();
        fail(&watch, AlertKind::Failing, 5);
        assert_eq!(taken(&watch), [AlertKind::Failing]);
        learn(&watch, None, 20);
        fail(&watch, AlertKind::Failing, 25);
        learn(&watch, Some(9), 26);
        assert_eq!(taken(&watch), [], "it is the same streak");
        learn(&watch, Some(27), 28);
        assert_eq!(taken(&watch), [], "what failed before the success belongs to what is over");

        learn(&watch, None, 30);
        fail(&watch, AlertKind::Failing, 32);
        fail(&watch, AlertKind::Retries100, 33);
        fail(&watch, AlertKind::Failing, 34);
        assert_eq!(taken(&watch), [AlertKind::Retries100]);
        learn(&watch, Some(31), 40);
        assert_eq!(taken(&watch), [AlertKind::Failing], "once, although it failed twice");
        learn(&watch, Some(31), 41);
        assert_eq!(taken(&watch), [AlertKind::Failing; 0]);
    }
}
