//! `tidings deliveries`: the push queue, and the log of its attempts.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures_util::TryStreamExt as _;
use tidings_client::api::delivery::{AttemptError, AttemptResource, DeliveryStatus};
use tidings_client::{Deliveries, DeliveryColumn, Sequence};

use super::{Context, Outcome};
use crate::failure::{Exit, Failure};
use crate::output::{Format, Listing, Out, pretty, printable};
use crate::values::moment;

/// The arguments.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

/// What to show. Without any, the queue is listed.
#[derive(Subcommand)]
enum Command {
    /// Show one, with the body as it is pushed and what was last answered
    Get { id: Sequence },
    /// Show every attempt of one
    Attempts { id: Sequence },
}

/// Which deliveries.
#[derive(Args)]
#[command(next_help_heading = "Which deliveries")]
struct List {
    /// Only these: pending, complete, error, paused
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    status: Vec<DeliveryStatus>,
    /// Only these event types
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    /// Only those whose last attempt failed with: timeout, connect, status, rejected …
    #[arg(long, value_name = "ERROR", value_delimiter = ',', value_parser = attempt_error)]
    error: Vec<AttemptError>,
    /// Only those last answered with these HTTP statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    answer: Vec<u16>,
    /// Only those with so many retries
    #[arg(long, value_name = "N", value_delimiter = ',')]
    retries: Vec<u32>,
    /// Only events from then on: 2h (ago), 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<DateTime<Utc>>,
    /// Only events before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<DateTime<Utc>>,
    /// The order: a column such as nextAttemptAt, with - before it the other way round
    #[arg(long, value_name = "COLUMN", default_value = "-id", allow_hyphen_values = true, value_parser = column)]
    sort: (bool, DeliveryColumn),
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(short, long, conflicts_with = "limit")]
    all: bool,
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("one of {} is expected", names.collect::<Vec<_>>().join(", "))
}

fn status(text: &str) -> Result<DeliveryStatus, String> {
    text.parse().map_err(|()| names(DeliveryStatus::ALL.iter().map(|status| status.as_str())))
}

fn attempt_error(text: &str) -> Result<AttemptError, String> {
    text.parse().map_err(|()| names(AttemptError::ALL.iter().map(|error| error.as_str())))
}

/// A column, and whether it is sorted downwards.
fn column(text: &str) -> Result<(bool, DeliveryColumn), String> {
    let (down, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
    let found = DeliveryColumn::ALL.iter().find(|column| column.as_str() == name);
    let found = found.ok_or_else(|| names(DeliveryColumn::ALL.iter().map(|column| column.as_str())))?;
    Ok((down, *found))
}

impl List {
    fn apply(&self, mut query: Deliveries) -> Deliveries {
        if !self.status.is_empty() {
            query = query.statuses(self.status.iter().copied());
        }
        if !self.types.is_empty() {
            query = query.event_types(&self.types);
        }
        if !self.error.is_empty() {
            query = query.errors(self.error.iter().copied());
        }
        if !self.answer.is_empty() {
            query = query.response_statuses(self.answer.iter().copied());
        }
        if !self.retries.is_empty() {
            query = query.retries(self.retries.iter().copied());
        }
        if let Some(since) = self.since {
            query = query.event_from(since);
        }
        if let Some(until) = self.until {
            query = query.event_before(until);
        }
        // One more than is shown tells whether there is more.
        let size = if self.all { 1_000 } else { self.limit.saturating_add(1).min(1_000) };
        let query = query.page_size(u16::try_from(size).unwrap_or(1_000));
        match self.sort {
            (true, column) => query.sort_descending(column),
            (false, column) => query.sort(column),
        }
    }
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let out = &context.out;
    let list = match arguments.command {
        None => arguments.list,
        Some(Command::Attempts { id }) => {
            let shown = show_attempts(out, client.attempts(id).await?.data)?;
            if shown == 0 {
                out.note("there was no attempt yet");
            }
            return Ok(if shown == 0 { Exit::Nothing } else { Exit::Done });
        }
        Some(Command::Get { id }) => {
            let document = client.delivery(id).await?;
            if out.format == Format::Json {
                out.json(&document)?;
                return Ok(Exit::Done);
            }
            let attributes = &document.data.attributes;
            let (said, content) = (attributes.response_text.clone(), attributes.content.clone());
            let mut listing = Listing::new(out);
            listing.add(document.data)?;
            listing.finish()?;
            if out.is_table() {
                if let Some(said) = said {
                    out.line("answer")?;
                    said.lines().try_for_each(|line| out.line(&format!("  {}", printable(line))))?;
                }
                if let Some(content) = content {
                    out.line("body")?;
                    pretty(content.get())
                        .lines()
                        .try_for_each(|line| out.line(&format!("  {}", printable(line))))?;
                }
            }
            return Ok(Exit::Done);
        }
    };
    let limit = if list.all { usize::MAX } else { list.limit as usize };
    let mut items = list.apply(client.deliveries()).items();
    let mut listing = Listing::new(out);
    let (mut shown, mut more) = (0, false);
    while let Some(item) = items.try_next().await? {
        if shown == limit {
            more = true;
            break;
        }
        listing.add(item)?;
        shown += 1;
    }
    listing.finish()?;
    match (shown, more) {
        (0, _) => out.note("nothing matches"),
        (_, true) => out.note(&format!("{shown} shown, there are more: --limit, or --all")),
        _ => {}
    }
    Ok(if shown == 0 { Exit::Nothing } else { Exit::Done })
}

/// Lists attempts.
pub(crate) fn show_attempts(
    out: &Out,
    attempts: impl IntoIterator<Item = AttemptResource>,
) -> Result<usize, Failure> {
    let mut listing = Listing::new(out);
    attempts.into_iter().try_for_each(|attempt| listing.add(attempt))?;
    listing.finish()
}
