//! What is done to all that match: counted first, asked about, then done by a job of the server, or, where the key may
//! have none, in batches.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use futures_util::TryStreamExt as _;
use tidings_client::api::job::{JobResource, JobState};
use tidings_client::{Client, Error, Flags, NewJob, Sequence, Targets};

use super::mark::mark_ids;
use super::{Context, Outcome};
use crate::failure::{Exit, Failure, message};
use crate::filter::Filter;
use crate::output::{Format, Out};
use crate::progress::{Progress, say};
use crate::values::{count, read_ids, thousands};

const FIRST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// To which, and how sure one is.
#[derive(Args)]
pub(crate) struct Bulk {
    /// Ids and ranges, such as 7 10..20; - reads them from the standard input
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All of them, where no filter says which
    #[arg(long)]
    all: bool,
    /// Only count
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
    /// Don't wait for the end of the job
    #[arg(long)]
    no_wait: bool,
}

impl Bulk {
    /// The ids, if there are any instead of filters.
    pub(crate) fn ids(&self, filter: &Filter) -> Result<Option<Vec<Sequence>>, Failure> {
        if self.ids.is_empty() {
            return match filter.is_empty() && !self.all {
                true => Err(Failure::usage("which? Neither ids nor filters are given")
                    .hint("Give ids, filters such as --type, or --all. --dry-run only counts.")),
                false => Ok(None),
            };
        }
        if !filter.is_empty() || self.all {
            return Err(Failure::usage("either ids or filters say which"));
        }
        read_ids(&self.ids).map(Some).map_err(Failure::usage)
    }
}

/// What is to be done.
pub(crate) struct Todo {
    /// None: push again.
    pub(crate) flags: Option<Flags>,
    /// In a question: `Mark {} as read?` has it before and after the number.
    pub(crate) question: (&'static str, String),
    /// What was done to them, after it.
    pub(crate) done: String,
}

impl Todo {
    fn job(&self, targets: Targets) -> NewJob {
        match self.flags {
            Some(flags) => NewJob::update(flags, targets),
            None => NewJob::repush(targets),
        }
    }
}

/// Does it to all that match.
pub(crate) async fn all(
    context: &Context,
    client: &Client,
    bulk: &Bulk,
    filter: &Filter,
    todo: &Todo,
) -> Outcome {
    let out = &context.out;
    // What arrives from now on stays untouched.
    let newest = client.newest().await?;
    if newest == Sequence::START {
        out.note("nothing matches");
        return Ok(Exit::Nothing);
    }
    let targets = Targets::matching(&filter.apply(client.notifications()), newest)?;
    let counted = match client.create_job(todo.job(targets.clone()).dry_run(true)).await {
        Ok(job) => {
            let job = wait(client, job.data, None).await?;
            Counted::Job(job.attributes.total.unwrap_or(job.attributes.processed))
        }
        // Jobs are for admins; flags are for consumers too.
        Err(Error::Api { status: 403, .. }) if todo.flags.is_some() => {
            Counted::Ids(matching(out, client, filter, newest).await?)
        }
        Err(error) => return Err(error.into()),
    };
    let number = match &counted {
        Counted::Job(number) => usize::try_from(*number).unwrap_or(usize::MAX),
        Counted::Ids(ids) => ids.len(),
    };
    if bulk.dry_run {
        out.line(&number.to_string())?;
    } else if number == 0 {
        out.note("nothing matches");
    }
    if number == 0 {
        return Ok(Exit::Nothing);
    }
    if bulk.dry_run {
        return Ok(Exit::Done);
    }
    if !bulk.yes {
        let (before, after) = &todo.question;
        confirm(&format!("{before} {}{after}?", count(number, "notification")))?;
    }
    match (counted, todo.flags) {
        (Counted::Ids(ids), Some(flags)) => mark_ids(context, client, &ids, flags, &todo.done).await,
        _ => job(context, client, bulk, todo, targets).await,
    }
}

enum Counted {
    Job(u64),
    Ids(Vec<Sequence>),
}

/// The ids of all that match now.
async fn matching(
    out: &Out,
    client: &Client,
    filter: &Filter,
    newest: Sequence,
) -> Result<Vec<Sequence>, Error> {
    let mut pages = filter.apply(client.notifications()).oldest_first().page_size(1_000).pages();
    let mut progress = Progress::new(out, "counted", None);
    let mut ids = Vec::new();
    while let Some(page) = pages.try_next().await? {
        ids.extend(page.data.into_iter().map(|item| item.id).filter(|id| *id <= newest));
        progress.set(ids.len() as u64);
    }
    Ok(ids)
}

/// Asks, and takes anything but yes for no.
fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!("{question} There is nobody to ask")).hint("Say --yes."));
    }
    let mut stderr = io::stderr();
    let mut answer = String::new();
    let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
    match read {
        Ok(_) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => Ok(()),
        _ => Err(Failure::new("nothing was changed").exit(Exit::Usage)),
    }
}

/// Has a job do it.
pub(crate) async fn job(
    context: &Context,
    client: &Client,
    bulk: &Bulk,
    todo: &Todo,
    targets: Targets,
) -> Outcome {
    let job = client.create_job(todo.job(targets)).await?.data;
    if bulk.no_wait {
        let id = job.id;
        print(&context.out, &job)?;
        context.out.note(&format!("the job goes on at the server: tidings jobs watch {id}"));
        return Ok(Exit::Done);
    }
    let progress = Progress::new(&context.out, "done", None);
    let job = wait(client, job, Some(progress)).await?;
    print(&context.out, &job)?;
    let attributes = &job.attributes;
    let done = attributes.processed.saturating_sub(attributes.failed);
    context.out.note(&format!(
        "{} {}",
        count(usize::try_from(done).unwrap_or(usize::MAX), "notification"),
        todo.done
    ));
    Ok(end(context, &job))
}

fn print(out: &Out, job: &JobResource) -> Result<(), Failure> {
    match out.format {
        Format::Table | Format::Wide => Ok(()),
        Format::Ids => out.line(&job.id.to_string()),
        _ => out.json(job),
    }
}

/// How a command ends whose job has.
pub(crate) fn end(context: &Context, job: &JobResource) -> Exit {
    let attributes = &job.attributes;
    if attributes.failed > 0 {
        let failed = thousands(attributes.failed);
        context.out.note(&format!("{failed} could not be done: they have expired, or were never there"));
    }
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let done = attributes.processed.saturating_sub(attributes.failed);
    match attributes.state {
        JobState::Cancelled => {
            context.out.note("the job was cancelled; what was done stays done");
            if done == 0 { Exit::Failed } else { Exit::Partial }
        }
        _ if attributes.processed == 0 => Exit::Nothing,
        _ => Exit::of(size(done), size(attributes.failed)),
    }
}

/// Waits for the end of a job. Ctrl-C leaves it to the server.
pub(crate) async fn wait(
    client: &Client,
    mut job: JobResource,
    mut progress: Option<Progress>,
) -> Result<JobResource, Failure> {
    let id = job.id;
    let mut pause = FIRST_LOOK;
    loop {
        if matches!(job.attributes.state, JobState::Done | JobState::Cancelled) {
            return Ok(job);
        }
        if let Some(progress) = &mut progress {
            progress.total(job.attributes.total);
            progress.set(job.attributes.processed);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = tokio::signal::ctrl_c() => {
                drop(progress);
                say(&format!("the job goes on at the server: tidings jobs watch {id}, or tidings jobs cancel {id}"));
                std::process::exit(130);
            }
        }
        pause = (pause * 2).min(LONGEST_LOOK);
        match client.job(id).await {
            Ok(now) => job = now.data,
            Err(error) if error.may_pass() => {
                say(&format!("tidings: {}; trying again", message(&error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
