//! `tidings tail`: the last notifications, and with `-f` what comes.

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tidings_client::{Client, Error, NotificationDocument, Sequence};

use super::{Context, Outcome};
use crate::failure::{Exit, message};
use crate::filter::Filter;
use crate::output::Listing;

/// The arguments.
#[derive(Args)]
#[command(after_help = "Dismissed ones are shown too, unless --undismissed is given.")]
pub(crate) struct Arguments {
    /// Begin with the last so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1000))]
    lines: u16,
    /// Go on, and show what comes
    #[arg(short, long)]
    follow: bool,
    /// Begin behind this id instead
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    after: Option<Sequence>,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let Arguments { lines, follow, after, filter } = arguments;
    let filter = filter.or_any();
    let client = context.client()?;
    let mut listing = Listing::live(&context.out);
    let mut cursor = match after {
        Some(after) => after,
        None => {
            // What comes while the last ones are read is behind the newest of now, and so comes once.
            let newest = client.newest().await?;
            for item in last(&client, &filter, lines, newest).await? {
                listing.add(item)?;
            }
            newest
        }
    };
    let query = |cursor: Sequence| filter.apply(client.notifications()).oldest_first().after(cursor);
    if !follow {
        if after.is_some() {
            let mut items = query(cursor).page_size(1_000).items();
            while let Some(item) = items.try_next().await? {
                listing.add(item)?;
            }
        }
        return Ok(if listing.finish()? == 0 { Exit::Nothing } else { Exit::Done });
    }
    let mut news = query(cursor).follow();
    while let Some(next) = news.next().await {
        match next {
            Ok(item) => {
                cursor = item.data.id;
                listing.add(item)?;
            }
            Err(error) if error.is_cursor_expired() => {
                let note = format!(
                    "tidings: some that followed {cursor} have expired; going on with the oldest kept"
                );
                context.out.note(&note);
                let before = error.oldest().and_then(|oldest| Sequence::new(oldest.get() - 1).ok());
                cursor = before.unwrap_or(Sequence::START);
                news = query(cursor).follow();
            }
            // It goes on by itself.
            Err(error) if error.may_pass() => {
                context.out.note(&format!("tidings: {}; trying again", message(&error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Exit::Done)
}

/// The last so many that match, up to an id, the oldest first.
async fn last(
    client: &Client,
    filter: &Filter,
    lines: u16,
    newest: Sequence,
) -> Result<Vec<NotificationDocument>, Error> {
    let mut last = Vec::new();
    let query = filter.apply(client.notifications()).newest_first().page_size(lines.clamp(1, 1_000));
    let mut items = query.items();
    while last.len() < usize::from(lines) {
        match items.try_next().await? {
            Some(item) if item.data.id > newest => {}
            Some(item) => last.push(item),
            None => break,
        }
    }
    last.reverse();
    Ok(last)
}
