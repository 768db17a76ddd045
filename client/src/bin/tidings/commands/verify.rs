//! `tidings verify`: what is held and what is missing, as an exit code.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;
use tidings_client::archiver::{Archiver, Outcome::Done};

use super::{Context, Outcome, inbox};
use crate::failure::Exit;
use crate::values::count;

/// The arguments.
#[derive(Args)]
#[command(
    after_help = "It ends with 0 when the inbox holds 1 to the newest, and with 3 when something is missing or has expired."
)]
pub(crate) struct Arguments {
    /// The inbox
    #[arg(long, value_name = "FILE", default_value = "inbox.db")]
    inbox: PathBuf,
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let inbox = inbox::open(&arguments.inbox)?;
    let nothing = |_, _| async { Ok(Done) };
    let archiver = Archiver::builder(context.client()?, inbox).otherwise(nothing).build()?;
    let proof = archiver.verify().await?;
    if context.out.is_table() {
        context.out.line(&proof.to_string())?;
    } else {
        let ranges = |ranges: &[RangeInclusive<i64>]| -> Vec<[i64; 2]> {
            ranges.iter().map(|range| [*range.start(), *range.end()]).collect()
        };
        context.out.json(&serde_json::json!({
            "whole": proof.is_whole(),
            "newest": proof.newest,
            "oldestKept": proof.oldest_kept,
            "held": ranges(&proof.held),
            "missing": ranges(&proof.missing),
            "expired": ranges(&proof.expired),
        }))?;
    }
    if !proof.missing.is_empty() {
        let missing: i64 = proof.missing.iter().map(|range| range.end() - range.start() + 1).sum();
        let missing = usize::try_from(missing).unwrap_or(usize::MAX);
        context.out.note(&format!("{} can be fetched: tidings sync --once", count(missing, "notification")));
    }
    Ok(if proof.is_whole() { Exit::Done } else { Exit::Partial })
}
