//! `tidings repush`: sending again, at someone's request.

use clap::Args;
use tidings_client::Targets;

use super::bulk::{self, Bulk, Todo};
use super::{Context, Outcome};
use crate::failure::Exit;
use crate::filter::Filter;
use crate::values::count;

/// The most ids that a job may name.
const MOST_IDS: usize = 10_000;

/// The arguments.
#[derive(Args)]
#[command(after_help = "\
Examples:
  tidings repush 7 10..20
  tidings repush --pushed failed --since 2d --dry-run
  tidings repush --pushed failed --with-dismissed --yes

It takes what `tidings ls` with the same filters lists. Needs a key of the role admin.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bulk: Bulk,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let Arguments { bulk, filter } = arguments;
    let client = context.client()?;
    let todo = Todo { flags: None, question: ("Push", " again".to_owned()), done: "pushed again".to_owned() };
    let Some(ids) = bulk.ids(&filter)? else {
        return bulk::all(context, &client, &bulk, &filter, &todo).await;
    };
    if ids.is_empty() || bulk.dry_run {
        context.out.note(&format!("{} would be pushed again", count(ids.len(), "notification")));
        return Ok(if ids.is_empty() { Exit::Nothing } else { Exit::Done });
    }
    let mut exits = Vec::new();
    for ids in ids.chunks(MOST_IDS) {
        exits.push(bulk::job(context, &client, &bulk, &todo, Targets::ids(ids.iter().copied())).await?);
    }
    let same = exits.windows(2).all(|pair| pair[0] == pair[1]);
    Ok(if same { exits[0] } else { Exit::Partial })
}
