//! `tidings sync` and `tidings listen`: an archiver as a program.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use clap::Args;
use futures_util::future::{Either, pending, select};
use tidings_client::archiver::{self, Health, Item, Summary, every};
use tidings_client::inbox::BoxError;
use tidings_client::{Archiver, Client, Error, Inbox};

use super::post::read;
use super::{Context, Outcome};
use crate::failure::{Exit, Failure};
use crate::handler::{Handler, Target};
use crate::output::Out;
use crate::progress::Progress;
use crate::values::{interval, short};

/// How often what is going on is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// A backlog of so many is worth a bar.
const MANY: u64 = 200;

/// The arguments of `sync`.
#[derive(Args)]
#[command(after_help = EXEC_HELP)]
pub(crate) struct Sync {
    /// Catch up once, handle what is due, and end: for cron
    #[arg(long, conflicts_with = "every")]
    once: bool,
    #[command(flatten)]
    archive: Archive,
}

/// The arguments of `listen`.
#[derive(Args)]
#[command(after_help = EXEC_HELP)]
pub(crate) struct Listen {
    /// Where to take pushes
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    addr: String,
    /// The path of the push URL
    #[arg(long, default_value = "/")]
    path: String,
    /// A signing secret of the tenant, or @FILE; several while it is being replaced [TIDINGS_SECRET]
    #[arg(long, value_name = "whsec_…")]
    secret: Vec<String>,
    /// A header that each push must have: 'X-Hook: value', or @FILE
    #[arg(long, value_name = "NAME: VALUE")]
    header: Option<String>,
    #[command(flatten)]
    archive: Archive,
}

/// The handlers at work, and whether more may begin.
#[derive(Default)]
struct Work {
    ending: AtomicBool,
    running: AtomicUsize,
}

impl Work {
    /// Handles one, unless it is to end.
    async fn one(&self, handler: &Handler, item: Item) -> Result<archiver::Outcome, BoxError> {
        if self.ending.load(Ordering::Relaxed) {
            return pending().await;
        }
        self.running.fetch_add(1, Ordering::Relaxed);
        let outcome = handler.handle(item).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Lets none begin, and waits for those that have.
    async fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
        while self.running.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(LOOK).await;
        }
        // Until the last of them is recorded.
        tokio::time::sleep(LOOK).await;
    }
}

/// What both take.
#[derive(Args)]
struct Archive {
    /// The file in which everything is kept until it is handled, and after; it is made
    #[arg(long, value_name = "FILE", default_value = "inbox.db")]
    inbox: PathBuf,
    /// Catch up each time that this time has passed
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = interval)]
    every: Duration,
    /// Handle so many at a time; 1 keeps their order as long as none fails
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// Give up after so many attempts, one second apart, then two, up to an hour
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: u32,
    #[command(flatten)]
    target: Target,
}

const EXEC_HELP: &str = "\
A command run by --exec finds the notification as JSON on its standard input, and TIDINGS_ID,
TIDINGS_TYPE, TIDINGS_CREATED_AT, TIDINGS_ENTITY, TIDINGS_CREATED_BY, TIDINGS_UNIT and
TIDINGS_ATTEMPT in its environment. It ends with 0 when all is well, and the notification is then
dismissed at the server; with 65 when trying again can't help; with anything else to be run again
later. It may be run twice for the same id: after a crash just before its end was recorded.

What was given up is shown by `tidings inbox dead`, and tried again by `tidings inbox revive`.";

impl Archive {
    fn open(
        self,
        client: Client,
        secrets: Vec<String>,
        header: Option<(String, String)>,
    ) -> Result<(Archiver, Arc<Work>), Failure> {
        let handler = Arc::new(self.target.handler()?);
        let work = Arc::new(Work::default());
        let at_work = Arc::clone(&work);
        let mut builder = Archiver::builder(client, Inbox::open(&self.inbox)?);
        for secret in secrets {
            builder = builder.secret(secret);
        }
        if let Some((name, value)) = header {
            builder = builder.header(name, value);
        }
        let archiver = builder
            .otherwise(move |item, _| {
                let (handler, work) = (Arc::clone(&handler), Arc::clone(&at_work));
                async move { work.one(&handler, item).await }
            })
            .catch_up(every(self.every))
            .concurrency(usize::from(self.concurrency))
            .max_attempts(self.max_attempts)
            .build();
        let archiver = archiver.map_err(|error| Failure::from(error).exit(Exit::Usage))?;
        Ok((archiver, work))
    }
}

pub(crate) async fn sync(context: &Context, arguments: Sync) -> Outcome {
    let Sync { archive, once } = arguments;
    let every = short(archive.every);
    let (archiver, work) = archive.open(context.client()?, Vec::new(), None)?;
    if once {
        return drain(context, &archiver, &work).await;
    }
    context.out.note(&format!("catches up every {every}; Ctrl-C ends it"));
    run(context, &archiver).await
}

pub(crate) async fn listen(context: &Context, arguments: Listen) -> Outcome {
    let Listen { addr, path, mut secret, header, archive } = arguments;
    if secret.is_empty() {
        secret.extend(std::env::var("TIDINGS_SECRET").ok().filter(|secret| !secret.is_empty()));
    }
    let from_file = |text: String| match text.strip_prefix('@') {
        Some(file) => read(file).map(|text| text.trim().to_owned()),
        None => Ok(text),
    };
    let secrets = secret.into_iter().map(from_file).collect::<Result<Vec<_>, _>>()?;
    let header = header.map(from_file).transpose()?;
    let header = header.map(|text| match text.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err(Failure::usage("--header is a name, a colon and a value")),
    });
    let header = header.transpose()?;
    if secrets.is_empty() && header.is_none() {
        return Err(Failure::usage("a push must show where it comes from")
            .hint("Give the tenant's signing secret with --secret @FILE or TIDINGS_SECRET, or its header with --header."));
    }
    let path = format!("/{}", path.trim_start_matches('/'));
    let (archiver, _) = archive.open(context.client()?, secrets, header)?;
    let (receiver, place) = (archiver.clone(), path.clone());
    let server = HttpServer::new(move || {
        let health = receiver.clone();
        App::new()
            .service(receiver.receiver(&place))
            .route("/healthz", web::get().to(move || healthz(health.clone())))
    });
    let server = server.workers(1).disable_signals().bind(&addr);
    let server = server.map_err(|error| Failure::new(format!("{addr} can't be listened on: {error}")))?;
    for address in server.addrs() {
        context.out.note(&format!("takes pushes at http://{address}{path}"));
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let outcome = run(context, &archiver).await;
    handle.stop(true).await;
    outcome
}

/// Says how the archiver is: 503 when it has not caught up for long.
async fn healthz(archiver: Archiver) -> HttpResponse {
    let Ok(health) = archiver.health().await else {
        return HttpResponse::ServiceUnavailable().finish();
    };
    let mut response = match health.stale_since {
        None => HttpResponse::Ok(),
        Some(_) => HttpResponse::ServiceUnavailable(),
    };
    response.json(serde_json::json!({
        "cursor": health.cursor,
        "newest": health.newest,
        "lag": health.lag,
        "waiting": health.depth,
        "dead": health.dead,
        "toDismiss": health.to_dismiss,
        "lastPush": health.last_push,
        "lastPull": health.last_pull,
        "staleSince": health.stale_since,
        "lastError": health.last_error.map(|problem| problem.what),
    }))
}

/// Waits until someone wants it to end. Whoever asks twice means at once.
async fn shutdown(out: Out) {
    interrupt().await;
    out.note("ending: what has begun is finished; press Ctrl-C again to stop at once");
    actix_web::rt::spawn(async {
        interrupt().await;
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            let _ = select(pin!(terminate.recv()), pin!(tokio::signal::ctrl_c())).await;
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn interrupt() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Runs until it is told to end, and says what is worth knowing meanwhile.
async fn run(context: &Context, archiver: &Archiver) -> Outcome {
    let out = &context.out;
    let before = archiver.inbox().counts().await?;
    let work = async { archiver.run(shutdown(out.clone())).await };
    match select(pin!(work), pin!(watch(out, archiver, true))).await {
        Either::Left((ended, _)) => ended.map_err(explain)?,
        Either::Right((never, _)) => match never {},
    }
    let after = archiver.inbox().counts().await?;
    let handled = after.handled.saturating_sub(before.handled);
    out.note(&format!("ended: handled {handled}, {} waiting, {} dead", after.waiting, after.dead));
    Ok(Exit::Done)
}

/// Does what there is to do.
async fn drain(context: &Context, archiver: &Archiver, at_work: &Work) -> Outcome {
    let out = &context.out;
    let work = async {
        let interrupted = async {
            shutdown(out.clone()).await;
            at_work.end().await;
        };
        match select(pin!(archiver.drain()), pin!(interrupted)).await {
            Either::Left((ended, _)) => ended.map_err(explain),
            Either::Right(_) => {
                Err(Failure::new("interrupted; what was done stays done, run it again to go on"))
            }
        }
    };
    let summary = match select(pin!(work), pin!(watch(out, archiver, false))).await {
        Either::Left((ended, _)) => ended?,
        Either::Right((never, _)) => match never {},
    };
    let Summary { fetched, handled, failed, dead, dismissed, .. } = summary;
    if out.is_table() {
        let mut text = format!("fetched {fetched}, handled {handled}, dismissed {dismissed}");
        for (number, what) in [(failed, "attempts failed"), (dead, "given up")] {
            if number > 0 {
                text = format!("{text}, {number} {what}");
            }
        }
        out.note(&text);
    } else {
        out.json(&serde_json::json!({
            "fetched": fetched, "handled": handled, "failed": failed, "dead": dead, "dismissed": dismissed,
        }))?;
    }
    let done = usize::try_from(handled).unwrap_or(usize::MAX);
    Ok(Exit::of(done, usize::try_from(failed + dead).unwrap_or(usize::MAX)))
}

fn explain(error: Error) -> Failure {
    let hint = match &error {
        Error::InboxBusy => Some("Is another `tidings sync` or `tidings listen` running on it?"),
        Error::OtherTenant { .. } => {
            Some("Use another --inbox for this key, or the key of the inbox's tenant.")
        }
        _ => None,
    };
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Shows how far a backlog is, and tells of trouble when it begins and when it has passed.
async fn watch(out: &Out, archiver: &Archiver, telling: bool) -> std::convert::Infallible {
    let mut stage: Option<Stage> = None;
    let mut trouble: Option<String> = None;
    let start = archiver.inbox().cursor().await.map_or(0, |cursor| cursor.get());
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(health) = archiver.health().await else { continue };
        stage = Stage::next(stage, out, &health, start);
        let now = health.last_error.map(|problem| problem.what);
        if telling && now != trouble {
            let text = match &now {
                Some(what) => format!("tidings: {what}; trying again"),
                None => "tidings: all is well again".to_owned(),
            };
            out.note(&text);
            trouble = now;
        }
    }
}

/// A backlog on its way: first fetched, then handled.
struct Stage {
    fetching: bool,
    progress: Progress,
    /// With handling: the most that were waiting.
    most: u64,
}

impl Stage {
    fn next(stage: Option<Stage>, out: &Out, health: &Health, start: i64) -> Option<Stage> {
        let lag = health.lag.unwrap_or(0);
        let fetching = match &stage {
            Some(Stage { fetching: true, .. }) => lag > 0,
            _ => lag >= MANY,
        };
        if !fetching && health.depth < if stage.is_some() { 1 } else { MANY } {
            return None;
        }
        let mut stage = match stage.filter(|stage| stage.fetching == fetching) {
            Some(stage) => stage,
            None => {
                let what = if fetching { "fetched" } else { "handled" };
                Stage { fetching, progress: Progress::new(out, what, Some(0)), most: 0 }
            }
        };
        let (done, total) = if fetching {
            let fetched = health.cursor.get().saturating_sub(start).max(0).cast_unsigned();
            (fetched, fetched + lag)
        } else {
            stage.most = stage.most.max(health.depth);
            (stage.most - health.depth, stage.most)
        };
        stage.progress.total(Some(total));
        stage.progress.set(done);
        Some(stage)
    }
}
