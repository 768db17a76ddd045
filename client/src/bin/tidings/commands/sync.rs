//! `tidings sync` and `tidings listen`: an archiver as a program.

use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use clap::Args;
use futures_util::future::{Either, select};
use tidings_client::archiver::{Summary, every};
use tidings_client::{Archiver, Client, Error, Inbox};

use super::post::read;
use super::{Context, Outcome};
use crate::backlog::watch;
use crate::failure::{Exit, Failure};
use crate::handler::Target;
use crate::output::Out;
use crate::values::{count, interval, short};

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
    /// A signing secret of the tenant, or @FILE; several while it is being replaced (TIDINGS_SECRET)
    #[arg(long, value_name = "whsec_…")]
    secret: Vec<String>,
    /// A header that each push must have: 'X-Hook: value', or @FILE
    #[arg(long, value_name = "NAME: VALUE")]
    header: Option<String>,
    #[command(flatten)]
    archive: Archive,
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
    ) -> Result<Archiver, Failure> {
        let handler = Arc::new(self.target.handler()?);
        let mut builder = Archiver::builder(client, Inbox::open(&self.inbox)?);
        for secret in secrets {
            builder = builder.secret(secret);
        }
        if let Some((name, value)) = header {
            builder = builder.header(name, value);
        }
        let archiver = builder
            .otherwise(move |item, _| {
                let handler = Arc::clone(&handler);
                async move { handler.handle(item).await }
            })
            .catch_up(every(self.every))
            .concurrency(usize::from(self.concurrency))
            .max_attempts(self.max_attempts)
            .build();
        archiver.map_err(|error| Failure::from(error).exit(Exit::Usage))
    }
}

pub(crate) async fn sync(context: &Context, arguments: Sync) -> Outcome {
    let Sync { archive, once } = arguments;
    let every = short(archive.every);
    let archiver = archive.open(context.client()?, Vec::new(), None)?;
    if once {
        return drain(context, &archiver).await;
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
    let archiver = archive.open(context.client()?, secrets, header)?;
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
        "refusedPushes": health.refused_pushes,
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
async fn drain(context: &Context, archiver: &Archiver) -> Outcome {
    let out = &context.out;
    let is_interrupted = Cell::new(false);
    let stop = async {
        shutdown(out.clone()).await;
        is_interrupted.set(true);
    };
    let work = async { archiver.drain_until(stop).await.map_err(explain) };
    let summary = match select(pin!(work), pin!(watch(out, archiver, false))).await {
        Either::Left((ended, _)) => ended?,
        Either::Right((never, _)) => match never {},
    };
    if is_interrupted.get() {
        return Err(Failure::new("interrupted; what was done stays done, run it again to go on"));
    }
    let Summary { fetched, handled, failed, dead, dismissed, .. } = summary;
    if out.is_table() {
        let mut text = format!("fetched {fetched}, handled {handled}, dismissed {dismissed}");
        if failed > 0 {
            let failed = usize::try_from(failed).unwrap_or(usize::MAX);
            text = format!("{text}, {} failed", count(failed, "attempt"));
        }
        if dead > 0 {
            text = format!("{text}, {dead} given up");
        }
        out.note(&text);
    } else {
        out.json(&serde_json::json!({
            "fetched": fetched, "handled": handled, "failed": failed, "dead": dead, "dismissed": dismissed,
        }))?;
    }
    // What failed and then succeeded after all is done.
    let left = if failed > 0 { archiver.inbox().counts().await?.waiting } else { 0 };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Exit::of(size(handled), size(left + dead)))
}

fn explain(error: Error) -> Failure {
    let hint = match &error {
        Error::InboxBusy { .. } => Some("Is another `tidings sync` or `tidings listen` running on it?"),
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
