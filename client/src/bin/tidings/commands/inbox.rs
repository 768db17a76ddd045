//! `tidings inbox`: what is in an inbox file.

use std::path::{Path, PathBuf};

use chrono::Utc;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_client::inbox::{Counts, Kept, Source, State};
use tidings_client::{Inbox, Sequence};

use super::{Context, Outcome};
use crate::failure::{Exit, Failure};
use crate::output::{Column, Field, Listing, Mood, Row, Where, pairs};
use crate::progress::say;
use crate::rows::{full, local, long, only};
use crate::values::{count, distance, read_ids, thousands};

/// The arguments.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The inbox
    #[arg(long, value_name = "FILE", global = true, default_value = "inbox.db")]
    inbox: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// What to do with it.
#[derive(Subcommand)]
enum Command {
    /// Show how many wait, were handled, and were given up
    Status,
    /// List what was given up, and why
    Dead,
    /// Show notifications as the inbox has them
    Get {
        /// Ids and ranges, such as 7 10..20; - reads them from the standard input
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Have what was given up handled again
    Revive {
        /// Ids and ranges, such as 7 10..20; - reads them from the standard input
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Have what was handled handled once more
    Replay {
        /// Ids and ranges, such as 7 10..20; - reads them from the standard input
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Opens an inbox that is there.
pub(crate) fn open(path: &Path) -> Result<Inbox, Failure> {
    if !path.exists() {
        let shown = path.display();
        return Err(Failure::usage(format!("there is no inbox {shown}"))
            .hint("`tidings sync --inbox FILE` and `tidings listen --inbox FILE` make one."));
    }
    Ok(Inbox::open(path)?)
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let inbox = open(&arguments.inbox)?;
    let out = &context.out;
    let ids = |arguments: &[String]| read_ids(arguments).map_err(Failure::usage);
    let changed = |number: usize, what: &str| {
        out.note(&format!("{} {what}", count(number, "notification")));
        Ok(if number == 0 { Exit::Nothing } else { Exit::Done })
    };
    match arguments.command {
        Command::Status => status(context, &inbox.counts().await?),
        Command::Dead => {
            let mut listing = Listing::new(out);
            let mut after = Sequence::START;
            loop {
                let page = inbox.dead(after, 1_000).await?;
                let Some(last) = page.last() else { break };
                after = last.id;
                for kept in page {
                    listing.add(Entry::new(kept)?)?;
                }
            }
            if listing.finish()? == 0 {
                out.note("nothing was given up");
                return Ok(Exit::Nothing);
            }
            Ok(Exit::Done)
        }
        Command::Get { ids: names } => {
            let mut listing = Listing::new(out);
            let (mut found, mut unknown) = (0, 0);
            for id in ids(&names)? {
                match inbox.get(id).await? {
                    Some(kept) => {
                        found += 1;
                        listing.add(Entry::new(kept)?)?;
                    }
                    None => {
                        unknown += 1;
                        say(&format!("tidings: {id} is not in the inbox"));
                    }
                }
            }
            listing.finish()?;
            Ok(if found == 0 { Exit::Nothing } else { Exit::of(found, unknown) })
        }
        Command::Revive { all: true, .. } => changed(inbox.revive_all().await?, "revived"),
        Command::Revive { ids: names, .. } => changed(inbox.revive(ids(&names)?).await?, "revived"),
        Command::Replay { ids: names } => {
            changed(inbox.replay(ids(&names)?).await?, "to be handled once more")
        }
    }
}

fn status(context: &Context, counts: &Counts) -> Outcome {
    if !context.out.is_table() {
        context.out.json(&serde_json::json!({
            "cursor": counts.cursor,
            "waiting": counts.waiting,
            "handled": counts.handled,
            "dead": counts.dead,
            "toDismiss": counts.to_dismiss,
            "oldestWaiting": counts.oldest_waiting,
            "lastPush": counts.last_push,
            "lastPull": counts.last_pull,
        }))?;
        return Ok(Exit::Done);
    }
    let ago = |time: Option<chrono::DateTime<Utc>>| match time {
        Some(time) => Mood::Plain.of(format!("{} ({} ago)", local(time), distance(time, Utc::now()))),
        None => Mood::Faint.of("–"),
    };
    let dead = if counts.dead > 0 { Mood::Bad } else { Mood::Plain };
    let rows = [
        ("caught up to", Mood::Plain.of(counts.cursor.to_string())),
        ("waiting", Mood::Plain.of(thousands(counts.waiting))),
        ("oldest waiting", ago(counts.oldest_waiting)),
        ("handled", Mood::Plain.of(thousands(counts.handled))),
        ("to dismiss", Mood::Plain.of(thousands(counts.to_dismiss))),
        ("given up", dead.of(thousands(counts.dead))),
        ("last push", ago(counts.last_push)),
        ("last pull", ago(counts.last_pull)),
    ];
    pairs(&context.out, rows.map(|(name, value)| (name.to_owned(), value)))?;
    Ok(Exit::Done)
}

/// A notification of the inbox as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: Sequence,
    r#type: String,
    state: &'static str,
    attempts: u32,
    reason: Option<String>,
    source: &'static str,
    received_at: chrono::DateTime<Utc>,
    retry_at: Option<chrono::DateTime<Utc>>,
    ended_at: Option<chrono::DateTime<Utc>>,
    document: Box<RawValue>,
}

impl Entry {
    fn new(kept: Kept) -> Result<Self, Failure> {
        let document = RawValue::from_string(kept.document);
        Ok(Entry {
            id: kept.id,
            r#type: kept.event_type,
            state: match kept.state {
                State::Handled => "handled",
                State::Dead => "dead",
                _ => "waiting",
            },
            attempts: kept.attempts,
            reason: kept.reason,
            source: if kept.source == Source::Push { "push" } else { "pull" },
            received_at: kept.received_at,
            retry_at: kept.retry_at,
            ended_at: kept.ended_at,
            document: document
                .map_err(|error| Failure::new(format!("{} in the inbox is no JSON: {error}", kept.id)))?,
        })
    }
}

fn wire(time: Option<chrono::DateTime<Utc>>) -> String {
    time.map_or_else(String::new, |time| tidings_client::api::time::format(&time))
}

impl Row for Entry {
    const COLUMNS: &'static [Column<Self>] = &[
        full("ID", 8, |row| Mood::Strong.of(row.id.to_string())),
        long("TYPE", 20, |row| Mood::Plain.of(&row.r#type)),
        full("STATE", 8, |row| match row.state {
            "handled" => Mood::Good.of(row.state),
            "dead" => Mood::Bad.of(row.state),
            _ => Mood::Busy.of(row.state),
        }),
        full("TRIED", 5, |row| Mood::Plain.of(row.attempts.to_string())),
        full("CAME", 19, |row| Mood::Plain.of(local(row.received_at))),
        only(Where::Wide, full("BY", 4, |row| Mood::Plain.of(row.source))),
        only(
            Where::Wide,
            full("ENDED", 19, |row| Mood::Plain.of(row.ended_at.map_or_else(String::new, local))),
        ),
        long("REASON", 0, |row| Mood::Plain.of(row.reason.clone().unwrap_or_default())),
    ];

    const FIELDS: &'static [Field<Self>] = &[
        ("id", |row| row.id.to_string()),
        ("type", |row| row.r#type.clone()),
        ("state", |row| row.state.to_owned()),
        ("attempts", |row| row.attempts.to_string()),
        ("reason", |row| row.reason.clone().unwrap_or_default()),
        ("source", |row| row.source.to_owned()),
        ("receivedAt", |row| wire(Some(row.received_at))),
        ("retryAt", |row| wire(row.retry_at)),
        ("endedAt", |row| wire(row.ended_at)),
    ];

    fn id(&self) -> String {
        self.id.to_string()
    }
}
