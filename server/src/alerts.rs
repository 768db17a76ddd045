//! Tells people when a tenant's push is in trouble, and when it is well again: by mail, and at a URL.
//!
//! Three steps, each of which may be done by another node. The sending threads *notice* in memory ([`Watch`]). What is
//! news is *raised* in the store, where the insert of a row is the change of state: only who succeeds with it puts the
//! alert into the outbox, so that neither several nodes nor a restart repeat one. The outbox is *told*, a few times if
//! need be; an alert that can't be sent disturbs nothing else. That pushes are accepted again is seen from the store
//! too, which knows the last success.
//!
//! What the sending threads need of it ([`crate::push::watch`]) stands with the push; what tells stands above it.

mod mail;
mod post;
mod text;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidings_api::alert::{AlertKind, AlertTestAttributes, AlertTestResult};
use tokio::sync::watch as signal;
use tokio::task::{Id, JoinSet};

pub use self::mail::{MailError, Mailer};
use crate::directory::{Directory, TenantEntry};
use crate::push::egress::Egress;
use crate::push::sender::Sender;
use crate::push::watch::Watch;
use crate::rules::alerts::{STREAK, again};
use crate::rules::notification::Micros;
use crate::store::Store;
use crate::store::alerts::{OutboxAlert, RaisedState, Raising, Way};
use crate::store::error::StoreError;
use crate::store::seam::TenantId;
use crate::telemetry::Metrics;

/// How often it is looked what there is to raise, to end and to tell.
const EVERY: Duration = Duration::from_secs(1);
/// Every so many looks the age of backlogs is looked at, and what is old is removed.
const SELDOM: u32 = 10;
/// How many alerts are sent at the same time.
const AT_ONCE: usize = 32;
/// How long alerts that were sent are remembered.
const KEPT: Micros = 24 * 3_600_000_000;
/// Waiting notifications are counted up to this many.
const COUNTED: i64 = 10_000;

/// What alerts are told with.
pub struct Alerts {
    /// The store.
    pub store: Store,
    /// Tenants.
    pub directory: Arc<Directory>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which addresses may be called.
    pub egress: Arc<Egress>,
    /// Sends mail, if that is configured.
    pub mailer: Option<Mailer>,
    /// What the sending threads notice.
    pub watch: Arc<Watch>,
    /// Whether the tenant of the first run may be reached on loopback addresses.
    pub demo_loopback: bool,
}

/// Why no test was sent.
#[derive(Debug, thiserror::Error)]
pub enum Untested {
    /// The last one by mail was a moment ago: after so many seconds there may be another.
    #[error("the last test was mailed a moment ago")]
    TooSoon(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn now() -> Micros {
    chrono::Utc::now().timestamp_micros()
}

impl Alerts {
    /// Raises what was noticed and ends what is over, until it is told to stop: after all that could notice something.
    pub async fn notice(self: Arc<Self>, mut ending: signal::Receiver<bool>) {
        for look in 0_u32.. {
            if let Err(error) = self.look(look.is_multiple_of(SELDOM)).await {
                tracing::warn!(%error, "what alerts tell of could not be recorded; it will be tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = ending.wait_for(|ending| *ending) => break,
            }
        }
        if let Err(error) = self.raise_noticed().await {
            tracing::warn!(%error, "the last that alerts were to tell of could not be recorded");
        }
    }

    async fn look(&self, seldom: bool) -> Result<(), StoreError> {
        self.raise_noticed().await?;
        let states = self.store.read(|conn| conn.alert_states()).await?;
        self.watch.learn(&states, now());
        end_streaks(&self.store, &states).await?;
        if seldom {
            check_backlogs(&self.store, &self.directory, &states, now()).await?;
            self.store.write(None, |conn| conn.alert_sweep(now() - KEPT)).await?;
        }
        Ok(())
    }

    async fn raise_noticed(&self) -> Result<(), StoreError> {
        let mut noticed = VecDeque::from(self.watch.take());
        while let Some(next) = noticed.pop_front() {
            let (tenant, kind, detail, since) = (next.tenant, next.kind, next.detail.clone(), next.at);
            // It began when it happened: a success since then ends it, also one that is recorded already.
            let raised = self
                .store
                .write(Some(tenant), move |conn| conn.alert_raise(tenant, kind, &detail, since, now()));
            match raised.await {
                Ok(Raising::Quiet(until)) => self.watch.quiet(tenant, kind, until),
                Ok(Raising::Raised | Raising::Already) => {}
                Err(error) => {
                    noticed.push_front(next);
                    self.watch.put_back(noticed);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Empties the outbox until the server stops. What is being sent then is sent.
    pub async fn tell(self: Arc<Self>, mut stopping: signal::Receiver<bool>) {
        // Connections belong to the runtime that made them.
        let sender = Rc::new(Sender::new(self.egress.clone()));
        let mut sending = Sending::default();
        while !*stopping.borrow() {
            match self.claim(&sending.busy()).await {
                Ok(claimed) => {
                    for alert in claimed {
                        let (alerts, sender) = (self.clone(), sender.clone());
                        let whose = (alert.tenant, alert.way);
                        sending.begin(whose, async move { alerts.tell_one(&sender, alert).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "what is to be told could not be read; it will be tried again")
                }
            }
            // One that hangs keeps nobody else waiting.
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = sending.end_one() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        while !sending.tasks.is_empty() {
            sending.end_one().await;
        }
    }

    /// What can be sent now, besides what is being sent.
    async fn claim(&self, busy: &[(TenantId, Way)]) -> Result<Vec<OutboxAlert>, StoreError> {
        let (at, node, room) = (now(), self.store.node(), AT_ONCE.saturating_sub(busy.len()));
        let (looked, busy) = (busy.to_vec(), busy.to_vec());
        if room == 0 || !self.store.read(move |conn| conn.alert_due(node, at, &looked)).await? {
            return Ok(Vec::new());
        }
        self.store.write(None, move |conn| conn.alert_claim(node, at, room, &busy)).await
    }

    async fn tell_one(&self, sender: &Sender, alert: OutboxAlert) -> Result<(), StoreError> {
        let entry = self.directory.tenant(alert.tenant).await?;
        let told = match &entry {
            Some(entry) => self.send(sender, entry, &alert).await,
            None => None,
        };
        let failed = u32::try_from(alert.attempts).unwrap_or(u32::MAX).saturating_add(1);
        let delay = match &told {
            None | Some(Ok(())) => None,
            Some(Err(error)) => {
                let delay = again(failed);
                if delay.is_none() {
                    let tenant = entry.as_ref().map(|entry| entry.tenant.public_id.as_str());
                    let (kind, way) = (alert.kind.as_str(), alert.way.as_str());
                    tracing::warn!(tenant, kind, way, error, "an alert could not be sent and was given up");
                }
                delay
            }
        };
        if let Some(told) = told {
            let result = if told.is_ok() {
                "sent"
            } else if delay.is_some() {
                "failed"
            } else {
                "given_up"
            };
            self.metrics.alert(alert.kind.as_str(), alert.way.as_str(), result);
        }
        let due = delay.map(|delay| now() + i64::try_from(delay.as_micros()).unwrap_or(i64::MAX));
        let node = self.store.node();
        self.store.write(Some(alert.tenant), move |conn| conn.alert_sent(&alert, node, due)).await
    }

    /// Sends an alert on its way; none if the tenant has not set that way.
    async fn send(
        &self,
        sender: &Sender,
        entry: &TenantEntry,
        alert: &OutboxAlert,
    ) -> Option<Result<(), String>> {
        let set = &entry.settings.alerts;
        let attributes = text::attributes(alert, entry);
        Some(match alert.way {
            Way::Email => {
                let address = set.email.as_deref()?;
                match &self.mailer {
                    Some(mailer) => mailer.send(address, &alert.id, &attributes).await,
                    None => Err("this server is not configured to send mail".to_owned()),
                }
            }
            Way::Url => {
                let loopback_too = self.demo_loopback && entry.tenant.may_reach_loopback;
                post::send(sender, entry, loopback_too, set.url.as_deref()?, &alert.id, attributes).await
            }
        })
    }

    /// Sends a test now on every way that the tenant has set. Answers the alert's id and what became of it.
    ///
    /// # Errors
    /// When the last test by mail was a moment ago, and those of the store.
    pub async fn test(
        &self,
        sender: &Sender,
        entry: &TenantEntry,
    ) -> Result<(String, AlertTestAttributes), Untested> {
        let at = now();
        let id = uuid::Uuid::new_v4().to_string();
        if entry.settings.alerts.email.is_some() {
            let (tenant, noted) = (entry.tenant.id, id.clone());
            let leave = self.store.write(Some(tenant), move |conn| conn.alert_test(tenant, &noted, at));
            if let Some(until) = leave.await? {
                return Err(Untested::TooSoon((until - at).unsigned_abs().div_ceil(1_000_000)));
            }
        }
        let alert = |way| OutboxAlert {
            tenant: entry.tenant.id,
            id: id.clone(),
            way,
            kind: AlertKind::Test,
            at,
            since: at,
            detail: String::new(),
            attempts: 0,
        };
        let (email, url) = (alert(Way::Email), alert(Way::Url));
        let (email, url) = tokio::join!(self.send(sender, entry, &email), self.send(sender, entry, &url));
        let result = |told: Result<(), String>| AlertTestResult { sent: told.is_ok(), error: told.err() };
        Ok((id, AlertTestAttributes { email: email.map(result), url: url.map(result) }))
    }
}

/// What is being sent: of each tenant and way one alert.
#[derive(Default)]
struct Sending {
    tasks: JoinSet<Result<(), StoreError>>,
    whose: HashMap<Id, (TenantId, Way)>,
}

impl Sending {
    fn busy(&self) -> Vec<(TenantId, Way)> {
        self.whose.values().copied().collect()
    }

    fn begin(
        &mut self,
        whose: (TenantId, Way),
        task: impl Future<Output = Result<(), StoreError>> + 'static,
    ) {
        self.whose.insert(self.tasks.spawn_local(task).id(), whose);
    }

    /// Waits until one has ended, however it did; without end if there is none. What isn't recorded as sent is sent again.
    async fn end_one(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(panic) => panic.id(),
        };
        self.whose.remove(&id);
        let error = match ended {
            Ok((_, Ok(()))) => return,
            Ok((_, Err(error))) => error.to_string(),
            Err(_) => "a task panicked".to_owned(),
        };
        tracing::warn!(error, "an alert could not be told, or not recorded as told; it will be tried again");
        tokio::time::sleep(EVERY).await;
    }
}

/// Ends the streaks of failures since whose begin a push was accepted.
///
/// # Errors
/// Those of the store.
pub async fn end_streaks(store: &Store, states: &[RaisedState]) -> Result<(), StoreError> {
    let mut ended: Vec<(TenantId, Micros)> =
        states.iter().filter_map(|state| Some((state.tenant, state.ended_at()?))).collect();
    ended.sort_unstable();
    ended.dedup();
    for (tenant, success) in ended {
        let told = Some(AlertKind::Recovered);
        store
            .write(Some(tenant), move |conn| conn.alert_clear(tenant, &STREAK, success, told, now()))
            .await?;
    }
    Ok(())
}

/// Raises and ends what is to be said of the age of backlogs at the given time. `states` is what is raised.
///
/// # Errors
/// Those of the store.
pub async fn check_backlogs(
    store: &Store,
    directory: &Directory,
    states: &[RaisedState],
    now: Micros,
) -> Result<(), StoreError> {
    let mut raised: Vec<TenantId> =
        states.iter().filter(|state| state.kind == AlertKind::Backlog).map(|state| state.tenant).collect();
    for tenant in store.read(|conn| conn.alert_backlog_tenants()).await? {
        let Some(entry) = directory.tenant(tenant).await? else { continue };
        let alerts = &entry.settings.alerts;
        let Some(age) = alerts.backlog_age_seconds else { continue };
        if alerts.email.is_none() && alerts.url.is_none() {
            continue;
        }
        let (count, oldest) = store.read(move |conn| conn.undelivered(tenant, COUNTED)).await?;
        let Some(oldest) = oldest.filter(|oldest| *oldest < now - i64::from(age) * 1_000_000) else {
            continue;
        };
        if let Some(index) = raised.iter().position(|raised| *raised == tenant) {
            raised.swap_remove(index);
            continue;
        }
        let more = if count >= COUNTED { " or more" } else { "" };
        let received = chrono::DateTime::from_timestamp_micros(oldest).unwrap_or_default();
        let received = tidings_api::time::format(&received);
        let detail = format!("{count}{more} notifications wait; the oldest was received at {received}");
        let kind = AlertKind::Backlog;
        store.write(Some(tenant), move |conn| conn.alert_raise(tenant, kind, &detail, now, now)).await?;
    }
    // What is left over is no longer so.
    for tenant in raised {
        let kinds = [AlertKind::Backlog];
        store
            .write(Some(tenant), move |conn| conn.alert_clear(tenant, &kinds, Micros::MAX, None, now))
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn what_fails_ends_nothing_else() {
        let whose = [1, 2, 3].map(|number| (TenantId::for_tests(number), Way::Url));
        let (go_on, waits) = tokio::sync::oneshot::channel();
        let test = async move {
            let mut sending = Sending::default();
            sending.begin(whose[0], async { panic!("on purpose") });
            sending.begin(whose[1], async { Err(StoreError::Busy) });
            sending.begin(whose[2], async move { waits.await.map_err(|_| StoreError::Closed) });
            sending.end_one().await;
            sending.end_one().await;
            assert_eq!(sending.busy(), [whose[2]], "the third goes on");
            go_on.send(()).unwrap();
            sending.end_one().await;
            assert_eq!(sending.busy(), []);
        };
        LocalSet::new().run_until(test).await;
    }
}
