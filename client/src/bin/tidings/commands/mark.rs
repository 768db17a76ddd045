//! `tidings mark`: flags, of ids or of all that match.

use clap::{Args, ValueEnum};
use tidings_client::api::operations::MAX_OPERATIONS;
use tidings_client::{Client, Error, Flags, Sequence};

use super::bulk::{self, Bulk, Todo};
use super::{Context, Outcome};
use crate::failure::{Exit, Failure, message};
use crate::filter::Filter;
use crate::progress::{Progress, say};
use crate::values::count;

/// The arguments.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tidings mark read 7 10..20
  tidings ls --type print -o ids | tidings mark dismissed -
  tidings mark dismissed --type print --until 30d --yes")]
pub(crate) struct Arguments {
    /// What they shall be
    #[arg(value_enum)]
    mark: Mark,
    #[command(flatten)]
    bulk: Bulk,
    #[command(flatten)]
    filter: Filter,
}

/// A flag and its value.
#[derive(Clone, Copy, ValueEnum)]
enum Mark {
    Read,
    Unread,
    Dismissed,
    Undismissed,
    Flagged,
    Unflagged,
}

impl Mark {
    fn flags(self) -> Flags {
        let none = Flags::default();
        match self {
            Mark::Read => Flags { is_read: Some(true), ..none },
            Mark::Unread => Flags { is_read: Some(false), ..none },
            Mark::Dismissed => Flags { is_dismissed: Some(true), ..none },
            Mark::Undismissed => Flags { is_dismissed: Some(false), ..none },
            Mark::Flagged => Flags { is_flagged: Some(true), ..none },
            Mark::Unflagged => Flags { is_flagged: Some(false), ..none },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Mark::Read => "read",
            Mark::Unread => "unread",
            Mark::Dismissed => "dismissed",
            Mark::Undismissed => "undismissed",
            Mark::Flagged => "flagged",
            Mark::Unflagged => "unflagged",
        }
    }

    /// What is undone is looked for among what is done.
    fn widen(self, filter: Filter) -> Filter {
        match self {
            Mark::Undismissed if !filter.undismissed => {
                Filter { dismissed: !filter.with_dismissed, ..filter }
            }
            _ => filter,
        }
    }
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let Arguments { mark, bulk, filter } = arguments;
    let client = context.client()?;
    let done = format!("marked {}", mark.name());
    let Some(ids) = bulk.ids(&filter)? else {
        let question = ("Mark", format!(" as {}", mark.name()));
        let todo = Todo { flags: Some(mark.flags()), question, done };
        return bulk::all(context, &client, &bulk, &mark.widen(filter), &todo).await;
    };
    if ids.is_empty() || bulk.dry_run {
        context.out.note(&format!("{} would be {done}", count(ids.len(), "notification")));
        return Ok(if ids.is_empty() { Exit::Nothing } else { Exit::Done });
    }
    mark_ids(context, &client, &ids, mark.flags(), &done).await
}

/// Sets flags of these, a thousand in a request. `what` tells what was done.
pub(crate) async fn mark_ids(
    context: &Context,
    client: &Client,
    ids: &[Sequence],
    flags: Flags,
    what: &str,
) -> Outcome {
    let mut progress = Progress::new(&context.out, "marked", Some(ids.len() as u64));
    let (mut done, mut unknown, mut failed) = (0, 0, 0);
    for batch in ids.chunks(MAX_OPERATIONS) {
        let operations = batch.iter().fold(client.operations(), |all, id| all.update(*id, flags));
        match operations.send().await {
            Ok(_) => done += batch.len(),
            // All or none, so one unknown id holds up the rest: then each by itself.
            Err(Error::Api { status: 404, .. }) => {
                for id in batch {
                    match client.update(*id, flags).await {
                        Ok(_) => done += 1,
                        Err(Error::Api { status: 404, .. }) => {
                            unknown += 1;
                            say(&format!("tidings: {id}: there is none with this id, or it has expired"));
                        }
                        Err(error) => {
                            failed += 1;
                            say(&format!("tidings: {id}: {}", message(&error)));
                        }
                    }
                    progress.set(done as u64);
                }
            }
            Err(error) if done == 0 => return Err(error.into()),
            Err(error) => {
                drop(progress);
                let left = ids.len() - done - unknown - failed;
                let failure = Failure::from(error).exit(Exit::Partial);
                context.out.note(&format!("{} {what}, {left} are left", count(done, "notification")));
                return Err(failure);
            }
        }
        progress.set(done as u64);
    }
    drop(progress);
    context.out.note(&format!("{} {what}", count(done, "notification")));
    Ok(if done == 0 && failed == 0 { Exit::Nothing } else { Exit::of(done, unknown + failed) })
}
