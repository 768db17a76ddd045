//! `tidings ls`: the list.

use clap::Args;
use futures_util::TryStreamExt as _;
use tidings_client::Query;

use super::{Context, Outcome};
use crate::failure::Exit;
use crate::filter::Filter;
use crate::output::Listing;

/// The arguments.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    page: Page,
}

/// How much of a list, and in which order.
#[derive(Args)]
#[command(next_help_heading = "How many")]
struct Page {
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(short, long, conflicts_with = "limit")]
    all: bool,
    /// The order: newest, oldest (first; by sequence), createdAt, -createdAt (the newest first)
    #[arg(long, value_name = "ORDER", default_value = "newest", allow_hyphen_values = true, value_parser = order)]
    sort: Order,
    /// Only what follows this id in the order
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Newest,
    Oldest,
    NewestCreated,
    OldestCreated,
}

fn order(text: &str) -> Result<Order, String> {
    Ok(match text {
        "newest" | "-sequence" => Order::Newest,
        "oldest" | "sequence" => Order::Oldest,
        "-createdAt" => Order::NewestCreated,
        "createdAt" => Order::OldestCreated,
        _ => return Err("one of newest, oldest, createdAt, -createdAt is expected".to_owned()),
    })
}

impl Page {
    fn apply(&self, query: Query) -> Query {
        let query = match self.sort {
            Order::Newest => query.newest_first(),
            Order::Oldest => query.oldest_first(),
            Order::NewestCreated => query.newest_created_first(),
            Order::OldestCreated => query.oldest_created_first(),
        };
        // One more than is shown tells whether there is more.
        let size = if self.all { 1_000 } else { self.limit.saturating_add(1).min(1_000) };
        let query = query.page_size(u16::try_from(size).unwrap_or(1_000));
        match &self.after {
            Some(cursor) => query.after(cursor),
            None => query,
        }
    }
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let Arguments { filter, page } = arguments;
    let mut items = page.apply(filter.apply(context.client()?.notifications())).items();
    let mut listing = Listing::new(&context.out);
    let limit = if page.all { usize::MAX } else { page.limit as usize };
    let (mut shown, mut last) = (0, None);
    let mut more = false;
    while let Some(item) = items.try_next().await? {
        if shown == limit {
            more = true;
            break;
        }
        last = Some(item.data.id);
        listing.add(item)?;
        shown += 1;
    }
    listing.finish()?;
    if shown == 0 {
        let dismissed = if filter.dismissed || filter.with_dismissed { "" } else { " that is not dismissed" };
        context.out.note(&format!("nothing{dismissed} matches"));
        return Ok(Exit::Nothing);
    }
    if let (true, Some(last)) = (more, last) {
        // By time, the cursor is not the id.
        let by_sequence = matches!(page.sort, Order::Newest | Order::Oldest);
        let how =
            if by_sequence { format!("--after {last}, or --all") } else { "--limit, or --all".to_owned() };
        context.out.note(&format!("{shown} shown, there are more: {how}"));
    }
    Ok(Exit::Done)
}
