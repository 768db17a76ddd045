//! How the kinds of things look in a list: their columns for people, and their fields for programs.

use chrono::{DateTime, Local, Utc};
use tidings_client::api::delivery::{AttemptResource, DeliveryResource, DeliveryStatus};
use tidings_client::api::job::{JobResource, JobState};
use tidings_client::{Notification, NotificationDocument, PushState};

use crate::output::{Column, Field, Mood, Row, Shown, Where};
use crate::values::{distance, thousands};

/// A column that is always shown in full.
pub(crate) const fn full<T>(name: &'static str, width: u16, show: fn(&T) -> Shown) -> Column<T> {
    Column { name, shown: Where::Always, width, shrinks: false, show }
}

/// A column that may be cut off.
pub(crate) const fn long<T>(name: &'static str, width: u16, show: fn(&T) -> Shown) -> Column<T> {
    Column { name, shown: Where::Always, width, shrinks: true, show }
}

/// A column that is not always shown.
pub(crate) const fn only<T>(shown: Where, mut column: Column<T>) -> Column<T> {
    column.shown = shown;
    column
}

/// How long ago.
fn age(time: DateTime<Utc>) -> String {
    distance(time, Utc::now())
}

/// A time in full, where the reader is.
pub(crate) fn local(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of day where the reader is.
fn clock(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%H:%M:%S").to_string()
}

fn wire(time: DateTime<Utc>) -> String {
    tidings_client::api::time::format(&time)
}

/// A value that may be missing, for programs.
fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// When the next attempt is.
fn next(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(String::new, |time| match time > Utc::now() {
        true => format!("in {}", age(time)),
        false => "now".to_owned(),
    })
}

/// A push state as it stands on the wire.
pub(crate) fn push_state(state: PushState) -> &'static str {
    match state {
        PushState::None => "none",
        PushState::Pending => "pending",
        PushState::Delivered => "delivered",
        PushState::Failed => "failed",
        PushState::Paused => "paused",
    }
}

/// The state of a notification's push, for people.
pub(crate) fn push(notification: &Notification) -> Shown {
    let Some(meta) = &notification.meta else { return Mood::Faint.of("") };
    let attempts = meta.push.attempts;
    match meta.push.state {
        PushState::None => Mood::Faint.of("–"),
        PushState::Delivered => Mood::Good.of("✓ delivered"),
        PushState::Failed => Mood::Bad.of(format!("✗ failed, {attempts} tried")),
        PushState::Paused => Mood::Busy.of("⏸ paused"),
        PushState::Pending if attempts == 0 => Mood::Busy.of("… pending"),
        PushState::Pending => {
            let next = next(meta.push.next_attempt_at);
            Mood::Busy.of(format!("↻ {attempts} tried, next {next}"))
        }
    }
}

/// The flags of a notification as words.
pub(crate) fn flags(notification: &Notification) -> String {
    let attributes = &notification.attributes;
    let flags = [
        (attributes.is_dismissed, "dismissed"),
        (attributes.is_read, "read"),
        (attributes.is_flagged, "flagged"),
    ];
    let set: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    set.join(" ")
}

fn entity(row: &NotificationDocument) -> String {
    text(row.data.relationships.entity.as_ref().map(|entity| &entity.data.id))
}

fn created_by(row: &NotificationDocument) -> String {
    text(row.data.relationships.created_by.as_ref().map(|user| &user.data.id))
}

impl Row for NotificationDocument {
    const COLUMNS: &'static [Column<Self>] = &[
        full("ID", 7, |row| Mood::Strong.of(row.data.id.to_string())),
        only(Where::Still, full("AGE", 4, |row| Mood::Plain.of(age(row.data.attributes.created_at)))),
        only(Where::Live, full("TIME", 8, |row| Mood::Plain.of(clock(row.data.attributes.created_at)))),
        only(Where::Wide, full("CREATED", 19, |row| Mood::Plain.of(local(row.data.attributes.created_at)))),
        long("TYPE", 16, |row| Mood::Plain.of(row.data.attributes.r#type.as_str())),
        long("FLAGS", 14, |row| Mood::Faint.of(flags(&row.data))),
        long("PUSH", 11, |row| push(&row.data)),
        long("ENTITY", 24, |row| Mood::Plain.of(entity(row))),
        only(Where::Wide, long("BY", 12, |row| Mood::Plain.of(created_by(row)))),
        only(Where::Wide, long("UNIT", 12, |row| Mood::Plain.of(text(row.data.attributes.unit.as_ref())))),
        long("COMMENT", 0, |row| Mood::Plain.of(text(row.data.attributes.comment.as_ref()))),
        only(
            Where::Wide,
            long("DATA", 0, |row| {
                Mood::Faint.of(text(row.data.attributes.data.as_ref().map(|data| data.get())))
            }),
        ),
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("id", |row| row.data.id.to_string()),
        ("type", |row| row.data.attributes.r#type.to_string()),
        ("createdAt", |row| wire(row.data.attributes.created_at)),
        ("receivedAt", |row| text(row.data.meta.as_ref().map(|meta| wire(meta.received_at)))),
        ("isDismissed", |row| row.data.attributes.is_dismissed.to_string()),
        ("isRead", |row| row.data.attributes.is_read.to_string()),
        ("isFlagged", |row| row.data.attributes.is_flagged.to_string()),
        ("push", |row| text(row.data.meta.as_ref().map(|meta| push_state(meta.push.state)))),
        ("attempts", |row| text(row.data.meta.as_ref().map(|meta| meta.push.attempts))),
        ("nextAttemptAt", |row| {
            text(row.data.meta.as_ref().and_then(|meta| meta.push.next_attempt_at).map(wire))
        }),
        ("entity", entity),
        ("createdBy", created_by),
        ("unit", |row| text(row.data.attributes.unit.as_ref())),
        ("comment", |row| text(row.data.attributes.comment.as_ref())),
        ("data", |row| text(row.data.attributes.data.as_ref().map(|data| data.get()))),
    ];

    fn id(&self) -> String {
        self.data.id.to_string()
    }
}

fn status(status: DeliveryStatus) -> Shown {
    let mood = match status {
        DeliveryStatus::Complete => Mood::Good,
        DeliveryStatus::Error => Mood::Bad,
        DeliveryStatus::Pending | DeliveryStatus::Paused => Mood::Busy,
    };
    mood.of(status.as_str())
}

impl Row for DeliveryResource {
    const COLUMNS: &'static [Column<Self>] = &[
        full("ID", 8, |row| Mood::Strong.of(row.id.to_string())),
        full("AGE", 4, |row| Mood::Plain.of(age(row.attributes.event_time))),
        long("TYPE", 20, |row| Mood::Plain.of(&row.attributes.event_type)),
        full("STATUS", 8, |row| status(row.attributes.status)),
        full("RETRIES", 7, |row| Mood::Plain.of(row.attributes.retries.to_string())),
        full("ANSWER", 6, |row| Mood::Plain.of(text(row.attributes.response_status))),
        full("ERROR", 15, |row| Mood::Bad.of(text(row.attributes.error_message.map(|error| error.as_str())))),
        full("NEXT", 7, |row| Mood::Plain.of(next(row.attributes.next_attempt_at))),
        only(
            Where::Wide,
            full("LAST", 19, |row| Mood::Plain.of(text(row.attributes.last_processed_at.map(local)))),
        ),
        only(Where::Wide, long("BY", 12, |row| Mood::Plain.of(text(row.attributes.created_by.as_ref())))),
        only(Where::Wide, long("TABLE", 12, |row| Mood::Plain.of(text(row.attributes.table.as_ref())))),
        only(Where::Wide, long("RECORD", 12, |row| Mood::Plain.of(text(row.attributes.record_id.as_ref())))),
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("id", |row| row.id.to_string()),
        ("eventType", |row| row.attributes.event_type.clone()),
        ("eventTime", |row| wire(row.attributes.event_time)),
        ("lastProcessedAt", |row| text(row.attributes.last_processed_at.map(wire))),
        ("status", |row| row.attributes.status.as_str().to_owned()),
        ("retries", |row| row.attributes.retries.to_string()),
        ("errorMessage", |row| text(row.attributes.error_message.map(|error| error.as_str()))),
        ("responseStatus", |row| text(row.attributes.response_status)),
        ("nextAttemptAt", |row| text(row.attributes.next_attempt_at.map(wire))),
        ("createdBy", |row| text(row.attributes.created_by.as_ref())),
        ("table", |row| text(row.attributes.table.as_ref())),
        ("recordId", |row| text(row.attributes.record_id.as_ref())),
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn outcome(row: &AttemptResource) -> Shown {
    match row.attributes.error {
        Some(error) => Mood::Bad.of(format!("✗ {}", error.as_str())),
        None => Mood::Good.of("✓ delivered"),
    }
}

impl Row for AttemptResource {
    const COLUMNS: &'static [Column<Self>] = &[
        full("ATTEMPT", 10, |row| Mood::Strong.of(&row.id)),
        full("STARTED", 19, |row| Mood::Plain.of(local(row.attributes.started_at))),
        full("REASON", 6, |row| Mood::Plain.of(row.attributes.reason.as_str())),
        full("TOOK", 9, |row| Mood::Plain.of(format!("{} ms", thousands(row.attributes.duration_ms)))),
        full("ANSWER", 6, |row| Mood::Plain.of(text(row.attributes.response_status))),
        full("RESULT", 17, outcome),
        only(Where::Wide, long("ADDRESS", 21, |row| Mood::Plain.of(text(row.attributes.address.as_ref())))),
        only(Where::Wide, long("URL", 0, |row| Mood::Plain.of(&row.attributes.url))),
        long("SAID", 0, |row| Mood::Faint.of(text(row.attributes.response_text.as_ref()))),
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("id", |row| row.id.clone()),
        ("startedAt", |row| wire(row.attributes.started_at)),
        ("durationMs", |row| row.attributes.duration_ms.to_string()),
        ("url", |row| row.attributes.url.clone()),
        ("address", |row| text(row.attributes.address.as_ref())),
        ("reason", |row| row.attributes.reason.as_str().to_owned()),
        ("responseStatus", |row| text(row.attributes.response_status)),
        ("error", |row| text(row.attributes.error.map(|error| error.as_str()))),
        ("responseText", |row| text(row.attributes.response_text.as_ref())),
    ];

    fn id(&self) -> String {
        self.id.clone()
    }
}

fn job_state(row: &JobResource) -> Shown {
    let mood = match row.attributes.state {
        JobState::Done if row.attributes.failed == 0 => Mood::Good,
        JobState::Done | JobState::Cancelled => Mood::Bad,
        JobState::Pending | JobState::Running => Mood::Busy,
    };
    mood.of(row.attributes.state.as_str())
}

impl Row for JobResource {
    const COLUMNS: &'static [Column<Self>] = &[
        full("ID", 36, |row| Mood::Strong.of(row.id.to_string())),
        full("AGE", 4, |row| Mood::Plain.of(age(row.attributes.created_at))),
        full("ACTION", 13, |row| {
            let dry = if row.attributes.dry_run { ", dry run" } else { "" };
            Mood::Plain.of(format!("{}{dry}", row.attributes.action.as_str()))
        }),
        full("STATE", 9, job_state),
        full("DONE", 9, |row| Mood::Plain.of(thousands(row.attributes.processed))),
        full("OF", 9, |row| Mood::Plain.of(row.attributes.total.map_or_else(String::new, thousands))),
        full("FAILED", 9, |row| match row.attributes.failed {
            0 => Mood::Faint.of("0"),
            failed => Mood::Bad.of(thousands(failed)),
        }),
        only(
            Where::Wide,
            full("STARTED", 19, |row| Mood::Plain.of(text(row.attributes.started_at.map(local)))),
        ),
        only(Where::Wide, full("ENDED", 19, |row| Mood::Plain.of(text(row.attributes.ended_at.map(local))))),
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("id", |row| row.id.to_string()),
        ("action", |row| row.attributes.action.as_str().to_owned()),
        ("dryRun", |row| row.attributes.dry_run.to_string()),
        ("state", |row| row.attributes.state.as_str().to_owned()),
        ("total", |row| text(row.attributes.total)),
        ("processed", |row| row.attributes.processed.to_string()),
        ("failed", |row| row.attributes.failed.to_string()),
        ("createdAt", |row| wire(row.attributes.created_at)),
        ("startedAt", |row| text(row.attributes.started_at.map(wire))),
        ("endedAt", |row| text(row.attributes.ended_at.map(wire))),
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
