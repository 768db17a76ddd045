//! `tidings post`: events, from arguments or from the standard input.

use std::fs;
use std::io;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::value::RawValue;
use tidings_client::api::event::NotStoredReason;
use tidings_client::{Client, Error, Event, NotificationDocument, Posted};

use super::{Context, Outcome};
use crate::documents;
use crate::failure::{Exit, Failure, message};
use crate::output::{Format, Listing, Out};
use crate::progress::say;
use crate::values::{count, moment};

/// The most events in a request, and the most bytes, about.
const TOGETHER: usize = 200;
const BYTES: usize = 1 << 20;

/// The arguments.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tidings post --type close --entity experiment:7 --comment 'Signed' --data '{\"amount\": 5}'
  tidings post events.ndjson          # whole documents: {\"data\": {\"type\": \"notification\", \"attributes\": …}}
  my-program | tidings post -         # the same, posted as they come

An event with an --event-id is stored once, however often it is posted.")]
pub(crate) struct Arguments {
    /// Files of whole documents, one after the other or in an array; - is the standard input
    #[arg(value_name = "FILE", conflicts_with = "type", required_unless_present = "type")]
    files: Vec<PathBuf>,
    /// The event's type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// A comment
    #[arg(long, requires = "type")]
    comment: Option<String>,
    /// The event's own fields: a JSON object; @FILE and @- (the standard input) read it
    #[arg(long, value_name = "JSON", requires = "type")]
    data: Option<String>,
    /// What it happened to
    #[arg(long, value_name = "ID", requires = "type")]
    entity: Option<String>,
    /// Who caused it
    #[arg(long, value_name = "ID", requires = "type")]
    created_by: Option<String>,
    /// When it happened: 2h (ago), 2026-01-31, 2026-01-31T12:00:00Z; else now
    #[arg(long, value_name = "WHEN", requires = "type", value_parser = moment)]
    created_at: Option<DateTime<Utc>>,
    /// The unit of the organisation where it happened
    #[arg(long, requires = "type")]
    unit: Option<String>,
    /// Your own id of the event, by which it is stored once
    #[arg(long, value_name = "ID", requires = "type")]
    event_id: Option<String>,
}

impl Arguments {
    /// The event that the arguments describe.
    fn event(self, event_type: &str) -> Result<Event, Failure> {
        let usage = |error: Error| Failure::usage(message(&error));
        let mut event = Event::new(event_type).map_err(usage)?;
        if let Some(data) = self.data {
            let (text, place) = match data.strip_prefix('@') {
                Some(file) => (read(file)?, file),
                None => (data, "--data"),
            };
            let data: Box<RawValue> = serde_json::from_str(&text)
                .map_err(|error| Failure::usage(format!("{place} is no JSON: {error}")))?;
            event = event.data(&data).map_err(|_| Failure::usage(format!("{place} is no JSON object")))?;
        }
        let given = (self.comment, self.entity, self.created_by, self.created_at, self.unit, self.event_id);
        let (comment, entity, created_by, created_at, unit, event_id) = given;
        event = comment.into_iter().fold(event, Event::comment);
        event = entity.into_iter().fold(event, |event, id| event.entity(id));
        event = created_by.into_iter().fold(event, |event, id| event.created_by(id));
        event = created_at.into_iter().fold(event, Event::created_at);
        event = unit.into_iter().fold(event, Event::unit);
        Ok(event_id.into_iter().fold(event, Event::event_id))
    }
}

/// The text of a file; `-` is the standard input.
pub(crate) fn read(file: &str) -> Result<String, Failure> {
    let text = if file == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(file) };
    text.map_err(|error| Failure::usage(format!("{file} can't be read: {error}")))
}

pub(crate) async fn run(context: &Context, mut arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let mut report = Report::new(&context.out);
    if let Some(event_type) = arguments.r#type.take() {
        report.add(client.post(arguments.event(&event_type)?).await?)?;
        return report.finish();
    }
    let mut documents = documents::read(arguments.files, TOGETHER);
    let mut number = 0;
    while let Some(first) = documents.next().await {
        // All that is there already goes in one request; nobody waits for more.
        let (mut batch, mut bytes, mut problem) = (Vec::new(), 0, None);
        let mut next = Some(first);
        while let Some(document) = next.take() {
            match document {
                Ok((size, event)) => {
                    bytes += size;
                    batch.push(event);
                }
                Err(what) => {
                    problem = Some(what);
                    break;
                }
            }
            if batch.len() < TOGETHER && bytes < BYTES {
                next = documents.try_recv().ok();
            }
        }
        let size = batch.len();
        if let Err(failure) = post(&client, batch, number, &mut report).await {
            return Err(report.interrupt(failure));
        }
        if let Some(problem) = problem {
            return Err(report.interrupt(Failure::usage(problem)));
        }
        number += size;
    }
    report.finish()
}

/// Posts what was read, in its order. `number` were posted before.
async fn post(
    client: &Client,
    batch: Vec<Event>,
    number: usize,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    if batch.len() > 1 {
        let operations = batch.iter().cloned().fold(client.operations(), |all, event| all.add(event));
        match operations.send().await {
            Ok(results) => {
                for result in results {
                    match (result.data, result.meta) {
                        (Some(data), _) => {
                            let links = data.links.clone();
                            report
                                .stored(NotificationDocument { links, data, included: Vec::new() }, true)?;
                        }
                        (None, Some(meta)) => report.not_selected(meta.reason),
                        (None, None) => {}
                    }
                }
                return Ok(());
            }
            // None of them was taken because of one; which, is seen when each is posted by itself.
            Err(Error::Api { status: 400 | 409 | 413 | 422, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (index, event) in batch.into_iter().enumerate() {
        match client.post(event).await {
            Ok(posted) => report.add(posted)?,
            Err(error @ Error::Api { status: 400 | 409 | 413 | 422, .. }) => {
                report.refused(number + index + 1, &message(&error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What became of the events.
struct Report<'o> {
    out: &'o Out,
    listing: Listing<'o, NotificationDocument>,
    stored: usize,
    duplicates: usize,
    not_selected: usize,
    refused: usize,
}

impl<'o> Report<'o> {
    fn new(out: &'o Out) -> Self {
        Report { out, listing: Listing::live(out), stored: 0, duplicates: 0, not_selected: 0, refused: 0 }
    }

    fn add(&mut self, posted: Posted) -> Result<(), Failure> {
        match posted {
            Posted::Stored(document) => self.stored(*document, true),
            Posted::Duplicate(document) => self.stored(*document, false),
            Posted::NotSelected(reason) => {
                self.not_selected(reason);
                Ok(())
            }
        }
    }

    fn stored(&mut self, document: NotificationDocument, new: bool) -> Result<(), Failure> {
        if new {
            self.stored += 1;
        } else {
            self.duplicates += 1;
        }
        if self.out.format == Format::Table {
            let known = if new { "" } else { "  was stored before" };
            return self
                .out
                .line(&format!("{}  {}{known}", document.data.id, document.data.attributes.r#type));
        }
        self.listing.add(document)
    }

    fn not_selected(&mut self, reason: NotStoredReason) {
        self.not_selected += 1;
        self.out.note(&format!("not stored, the settings exclude it: {}", reason_text(reason)));
    }

    fn refused(&mut self, number: usize, why: &str) {
        self.refused += 1;
        say(&format!("tidings: document {number}: {why}"));
    }

    fn taken(&self) -> usize {
        self.stored + self.duplicates + self.not_selected
    }

    fn finish(self) -> Outcome {
        let (taken, refused) = (self.taken(), self.refused);
        if taken + refused > 1 {
            self.out.note(&self.summary());
        }
        self.listing.finish()?;
        Ok(if taken + refused == 0 { Exit::Nothing } else { Exit::of(taken, refused) })
    }

    /// The end that came too early.
    fn interrupt(self, failure: Failure) -> Failure {
        if self.taken() == 0 || failure.message.is_empty() {
            return failure;
        }
        self.out.note(&self.summary());
        failure.exit(Exit::Partial)
    }

    fn summary(&self) -> String {
        // With many in a request, the answer doesn't tell which of them were known before.
        let are = if self.stored == 1 { "is" } else { "are" };
        let mut text = format!("{} {are} stored", count(self.stored, "event"));
        let others = [
            (self.duplicates, "known before"),
            (self.not_selected, "not selected"),
            (self.refused, "refused"),
        ];
        for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
            text = format!("{text}, {number} {what}");
        }
        text
    }
}

fn reason_text(reason: NotStoredReason) -> &'static str {
    match reason {
        NotStoredReason::Disabled => "enabled is false",
        NotStoredReason::TypeNotSelected => "selection.types does not name its type",
        NotStoredReason::SwitchedOffForUnit => "selection.units switches it off for its unit",
        NotStoredReason::OutOfScope => "selection.scope is about others",
        NotStoredReason::ColumnsNotChanged => "none of selection.columns has changed",
        NotStoredReason::ConditionNotMet => "selection.condition is not met",
    }
}
