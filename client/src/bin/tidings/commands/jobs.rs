//! `tidings jobs`: what is being done to many.

use clap::{Args, Subcommand};
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::bulk::{end, wait};
use super::{Context, Outcome};
use crate::failure::Exit;
use crate::output::{Format, Listing};
use crate::progress::Progress;

/// The arguments.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// At most so many, the newest first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

/// What to do with a job. Without any, the jobs are listed.
#[derive(Subcommand)]
enum Command {
    /// Show a job
    Get { id: Uuid },
    /// Wait for the end of a job
    Watch { id: Uuid },
    /// Cancel a job; what was done stays done
    Cancel { id: Uuid },
}

pub(crate) async fn run(context: &Context, arguments: Arguments) -> Outcome {
    let client = context.client()?;
    let out = &context.out;
    let (job, exit) = match arguments.command {
        None => {
            let mut listing = Listing::new(out);
            let mut items = client.jobs().page_size(arguments.limit.min(1_000)).items();
            for _ in 0..arguments.limit {
                let Some(job) = items.try_next().await? else { break };
                listing.add(job)?;
            }
            if listing.finish()? == 0 {
                out.note("there are no jobs");
                return Ok(Exit::Nothing);
            }
            return Ok(Exit::Done);
        }
        Some(Command::Get { id }) => (client.job(id).await?.data, Exit::Done),
        Some(Command::Cancel { id }) => (client.cancel_job(id).await?.data, Exit::Done),
        Some(Command::Watch { id }) => {
            let job = client.job(id).await?.data;
            let job = wait(&client, job, Some(Progress::new(out, "done", None))).await?;
            let exit = end(context, &job);
            (job, exit)
        }
    };
    match out.format {
        Format::Json => out.json(&job)?,
        _ => {
            let mut listing = Listing::new(out);
            listing.add(job)?;
            listing.finish()?;
        }
    }
    Ok(exit)
}
