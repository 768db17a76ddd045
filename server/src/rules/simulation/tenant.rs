//! A tenant, as its sending thread knows it.

use tidings_api::settings::{PushSettings, Retry};

use super::receivers::Receiver;
use super::report::Return;
use super::shelf::{Item, Shelf};
use crate::rules::lane::{Lane, Limits};
use crate::rules::notification::Micros;
use crate::rules::settings;

/// A tenant, its receiver, and what its thread knows of it.
pub(super) struct Tenant {
    pub(super) receiver: Receiver,
    pub(super) limits: Limits,
    pub(super) retry: Retry,
    pub(super) lane: Option<Lane<Item>>,
    /// The lane has begun the backlog that it found.
    pub(super) begun: bool,
    pub(super) more: bool,
    pub(super) claiming: bool,
    pub(super) closed: bool,
    pub(super) overflowed: bool,
    /// The receiver answered 410.
    pub(super) stopped: bool,
    /// How many are leased.
    pub(super) taken: usize,
    pub(super) wake: Micros,
    pub(super) shelf: Shelf,
    /// Its place among what is due.
    pub(super) listed: Option<Micros>,
    pub(super) last: i64,
    /// The sum of the sequences of all that were delivered or given up: none is counted twice, none is lost.
    pub(super) ended: i64,
    pub(super) waiting: usize,
    pub(super) back: Option<Return>,
}

impl Tenant {
    pub(super) fn new(receiver: Receiver, push: &PushSettings) -> Self {
        Tenant {
            receiver,
            limits: Limits::from(push),
            retry: push.retry.clone(),
            lane: None,
            begun: false,
            more: false,
            claiming: false,
            closed: false,
            overflowed: false,
            stopped: false,
            taken: 0,
            wake: 0,
            shelf: Shelf::default(),
            listed: None,
            last: 0,
            ended: 0,
            waiting: 0,
            back: None,
        }
    }

    pub(super) fn lane(&mut self, now: Micros) -> &mut Lane<Item> {
        self.lane.get_or_insert_with(|| {
            let mut lane = Lane::default();
            lane.configure(self.limits, now);
            lane
        })
    }
}

/// What a tenant has that chose nothing but a profile.
pub(super) fn push_settings(profile: &str) -> PushSettings {
    let set = if profile == "default" { "{}".to_owned() } else { format!(r#"{{"profile":"{profile}"}}"#) };
    settings::resolve(&set, "tenant").expect("a profile's settings are complete").push
}
