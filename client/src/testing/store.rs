//! What the server in memory keeps.

use std::collections::{BTreeMap, HashMap};

use chrono::Utc;
use tidings_api::event::{EventData, EventRelationship};
use tidings_api::jsonapi::{RawResource, SelfLink};
use tidings_api::notification::{NotificationMeta, PushStatus, Relationship};

use super::{SignedPush, document, signed_push};
use crate::{Flags, Notification, NotificationDocument, PushState, Sequence};

/// Where new notifications are pushed to.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) url: String,
    pub(super) secret: String,
}

pub(super) struct Store {
    /// What every URL begins with.
    pub(super) base: String,
    pub(super) tenant: String,
    pub(super) kept: BTreeMap<i64, NotificationDocument>,
    /// The ids under which something was posted with an idempotency key.
    keys: HashMap<String, i64>,
    pub(super) newest: i64,
    /// The newest that has been forgotten.
    pub(super) forgotten: i64,
    pub(super) target: Option<Target>,
    pub(super) auto_dismiss: bool,
}

impl Store {
    pub(super) fn new(base: String) -> Self {
        Store {
            base,
            tenant: uuid::Uuid::new_v4().to_string(),
            kept: BTreeMap::new(),
            keys: HashMap::new(),
            newest: 0,
            forgotten: 0,
            target: None,
            auto_dismiss: false,
        }
    }

    /// Stores an event, unless one with this key is kept already. Tells whether it is new.
    pub(super) fn add(
        &mut self,
        data: EventData,
        included: Vec<RawResource>,
        key: Option<&str>,
    ) -> (NotificationDocument, bool) {
        let attributes = data.attributes;
        let key = key.map(str::to_owned).or(attributes.event_id);
        let before = key.as_ref().and_then(|key| self.kept.get(self.keys.get(key)?));
        if let Some(before) = before {
            return (before.clone(), false);
        }
        self.newest += 1;
        let id = self.newest;
        self.keys.extend(key.map(|key| (key, id)));
        let mut new = document(id, attributes.r#type.as_str());
        new.links = SelfLink { this: format!("{}/notifications/{id}", self.base) };
        new.included = included;
        let state = if self.target.is_some() { PushState::Pending } else { PushState::None };
        let notification = &mut new.data;
        notification.links = new.links.clone();
        notification.attributes.created_at = attributes.created_at.unwrap_or_else(Utc::now);
        notification.attributes.comment = attributes.comment;
        notification.attributes.data = attributes.data;
        notification.attributes.change = attributes.change;
        notification.attributes.originator = attributes.originator;
        notification.attributes.unit = attributes.unit;
        notification.meta = Some(NotificationMeta {
            received_at: Utc::now(),
            push: PushStatus { state, attempts: 0, next_attempt_at: None },
        });
        let relationships = data.relationships.unwrap_or_default();
        let related = |list: &str, relationship: EventRelationship| {
            let this = format!("{}/{list}/{}", self.base, relationship.data.id);
            Relationship { links: SelfLink { this }, data: relationship.data }
        };
        notification.relationships.entity =
            relationships.entity.map(|relationship| related("entities", relationship));
        notification.relationships.created_by =
            relationships.created_by.map(|relationship| related("users", relationship));
        self.kept.insert(id, new.clone());
        (new, true)
    }

    pub(super) fn set(&mut self, id: Sequence, flags: Flags) -> Option<&NotificationDocument> {
        let document = self.kept.get_mut(&id.get())?;
        let attributes = &mut document.data.attributes;
        attributes.is_dismissed = flags.is_dismissed.unwrap_or(attributes.is_dismissed);
        attributes.is_read = flags.is_read.unwrap_or(attributes.is_read);
        attributes.is_flagged = flags.is_flagged.unwrap_or(attributes.is_flagged);
        Some(document)
    }

    pub(super) fn lose(&mut self, after: Sequence) {
        self.newest = self.newest.min(after.get());
        self.kept.retain(|id, _| *id <= after.get());
        self.keys.retain(|_, id| *id <= after.get());
    }

    pub(super) fn forget(&mut self, up_to: Sequence) {
        self.forgotten = self.forgotten.max(up_to.get().min(self.newest));
        self.kept = self.kept.split_off(&(self.forgotten + 1));
    }

    /// A push of what is kept under this id, and where it goes.
    pub(super) fn push(&mut self, id: i64) -> Option<(String, SignedPush)> {
        let target = self.target.clone()?;
        let document = self.kept.get_mut(&id)?;
        let attempts = document.data.meta.as_mut().map_or(0, |meta| {
            meta.push.attempts += 1;
            meta.push.attempts
        });
        let mut accepted = document.clone();
        accepted.data.attributes.is_dismissed |= self.auto_dismiss;
        let push = signed_push(&target.secret, &accepted).of_tenant(&self.tenant);
        Some((target.url, push.with_header("tidings-attempt", attempts.to_string())))
    }

    /// What has become of a push.
    pub(super) fn pushed(&mut self, id: i64, accepted: bool) {
        let auto_dismiss = self.auto_dismiss;
        let Some(document) = self.kept.get_mut(&id) else { return };
        document.data.attributes.is_dismissed |= accepted && auto_dismiss;
        if let Some(meta) = &mut document.data.meta {
            meta.push.state = if accepted { PushState::Delivered } else { PushState::Failed };
        }
    }

    /// Those that match, behind this cursor, and one more than the page holds if there are more.
    pub(super) fn page(
        &self,
        after: Option<i64>,
        descending: bool,
        size: usize,
        matches: impl Fn(&Notification) -> bool,
    ) -> Vec<&NotificationDocument> {
        let matching = self.kept.values().filter(|document| matches(&document.data));
        let beyond = |document: &&NotificationDocument| {
            let id = document.data.id.get();
            after.is_none_or(|after| if descending { id < after } else { id > after })
        };
        if descending {
            matching.rev().filter(beyond).take(size + 1).collect()
        } else {
            matching.filter(beyond).take(size + 1).collect()
        }
    }
}
