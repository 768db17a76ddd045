//! `tidings get`: notifications one by one, in full.

use clap::Args;
use futures_util::{StreamExt as _, stream};
use tidings_client::NotificationDocument;

use super::{Context, Outcome};
use crate::failure::{Exit, Failure, message};
use crate::output::{Format, Listing, Mood, Out, Shown, pairs, pretty, printable};
use crate::progress::say;
use crate::rows::{flags, local, push};
use crate::values::read_ids;

/// The arguments.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Ids and ranges, such as 7 10..20; - reads them from the standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let ids = read_ids(&arguments.ids).map_err(Failure::usage)?;
    if ids.is_empty() {
        return Ok(Exit::Nothing);
    }
    let client = context.client()?;
    let one = ids.len() == 1;
    let documents = ids.into_iter().map(|id| {
        let client = &client;
        async move { (id, client.get(id).await) }
    });
    let mut documents = stream::iter(documents).buffered(8);
    let mut listing = Listing::new(&context.out);
    let (mut found, mut unknown, mut failed) = (0, 0, 0);
    while let Some((id, document)) = documents.next().await {
        match document {
            Ok(document) => {
                found += 1;
                match context.out.format {
                    Format::Table | Format::Wide => show(&context.out, &document, found > 1)?,
                    // Of one, the document; of several, a list.
                    Format::Json if one => context.out.json(&document)?,
                    _ => listing.add(document)?,
                }
            }
            Err(tidings_client::Error::Api { status: 404, .. }) => {
                unknown += 1;
                say(&format!("tidings: {id}: there is none with this id, or it has expired"));
            }
            // What failed for one by the way there would fail for all.
            Err(error @ tidings_client::Error::Api { status: 401 | 403, .. }) => return Err(error.into()),
            Err(error) if found + unknown + failed == 0 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                say(&format!("tidings: {id}: {}", message(&error)));
            }
        }
    }
    let alone = one && context.out.format == Format::Json;
    if !context.out.is_table() && !alone {
        listing.finish()?;
    }
    match (found, failed) {
        (0, 0) => Ok(Exit::Nothing),
        _ => Ok(Exit::of(found, unknown + failed)),
    }
}

/// Shows a notification to people.
fn show(out: &Out, document: &NotificationDocument, apart: bool) -> Result<(), Failure> {
    let notification = &document.data;
    let attributes = &notification.attributes;
    let related = &notification.relationships;
    let mut rows: Vec<(&str, Shown)> = vec![
        ("id", Mood::Strong.of(notification.id.to_string())),
        ("type", Mood::Plain.of(attributes.r#type.as_str())),
        ("created", Mood::Plain.of(local(attributes.created_at))),
    ];
    let mut add = |name, value: Option<String>| rows.extend(value.map(|value| (name, Mood::Plain.of(value))));
    add("received", notification.meta.as_ref().map(|meta| local(meta.received_at)));
    let flags = flags(notification);
    add("flags", Some(if flags.is_empty() { "–".to_owned() } else { flags }));
    add("entity", related.entity.as_ref().map(|entity| entity.data.id.clone()));
    add("by", related.created_by.as_ref().map(|user| user.data.id.clone()));
    add("unit", attributes.unit.clone());
    add("comment", attributes.comment.clone());
    add(
        "change",
        attributes.change.as_ref().map(|change| {
            let record = change.record_id.as_deref().map_or(String::new(), |record| format!(" of {record}"));
            format!("{:?}{record} in {}: {}", change.r#type, change.table, change.columns.join(", "))
                .to_lowercase()
        }),
    );
    add(
        "originator",
        attributes.originator.as_ref().map(|originator| {
            let ids = [
                ("account", &originator.account_id),
                ("group", &originator.group_id),
                ("user", &originator.user_id),
            ];
            let ids = ids.into_iter().filter_map(|(name, id)| id.as_ref().map(|id| format!("{name} {id}")));
            ids.collect::<Vec<_>>().join(", ")
        }),
    );
    rows.push(("push", push(notification)));
    if apart {
        out.line("")?;
    }
    pairs(out, rows.into_iter().map(|(name, value)| (name.to_owned(), value)))?;
    if let Some(data) = &attributes.data {
        block(out, "data", data.get())?;
    }
    for resource in &document.included {
        let name = format!("{} {}", resource.identifier.r#type, resource.identifier.id);
        block(out, &name, resource.get())?;
    }
    Ok(())
}

/// JSON under a title.
fn block(out: &Out, title: &str, json: &str) -> Result<(), Failure> {
    out.line(&printable(title))?;
    pretty(json).lines().try_for_each(|line| out.line(&format!("  {}", printable(line))))
}
