//! An archive: keeps every notification of a tenant on disk, once each, and shows that none is missing.
//!
//! ```text
//! cargo run --release --example archive -- --url http://127.0.0.1:8080 --key CONSUMER_KEY \
//!     --secret whsec_… --listen 127.0.0.1:9090 --dir ./archive-demo
//! ```
//!
//! Kill it whenever you like, post events meanwhile, and start it again: it fetches what it missed. Each record is
//! a file, named by its sequence. A push is answered only when its file is safe, so that the server
//! sends again whatever did not get that far. Sequences have no gaps, so the names of the files are the proof.
//!
//! `--every SECONDS` sets how often it catches up (30). `--demo-admin-key KEY` has the server push to it and
//! dismiss what it has taken; otherwise an admin sets that up. All of it can also come from the environment:
//! `TIDINGS_URL`, `TIDINGS_KEY`, `TIDINGS_SECRET`, and so on.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fs::{self, File};
use std::future::ready;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use futures_util::TryStreamExt as _;
use tidings_client::api::operations::MAX_OPERATIONS;
use tidings_client::webhook::Verifier;
use tidings_client::{Client, Flags, NotificationDocument, PushPatch, Sequence, SettingsPatch};

type AnyError = Box<dyn StdError>;

#[actix_web::main]
async fn main() -> Result<(), AnyError> {
    let url = option("url")?.unwrap_or("http://127.0.0.1:8080".to_owned());
    let key = option("key")?.ok_or("--key is required: a key of the role consumer")?;
    let secret = option("secret")?.ok_or("--secret is required: the tenant's signing secret, whsec_…")?;
    let listen = option("listen")?.unwrap_or("127.0.0.1:9090".to_owned());
    let every = Duration::from_secs(option("every")?.unwrap_or("30".to_owned()).parse()?);
    let archive = Archive::open(option("dir")?.unwrap_or("./archive-demo".to_owned()).into())?;

    let verifier = web::Data::new(Verifier::new([secret])?);
    let kept = web::Data::new(archive.clone());
    let receiver = HttpServer::new(move || {
        App::new()
            .app_data(verifier.clone())
            .app_data(kept.clone())
            .app_data(web::PayloadConfig::new(16 << 20))
            .default_service(web::post().to(receive))
    });
    let receiver = receiver.workers(1).bind(&listen)?.run();

    if let Some(admin_key) = option("demo-admin-key")? {
        let push = PushPatch {
            url: Some(format!("http://{listen}/")),
            enabled: Some(true),
            auto_dismiss: Some(true),
            ..PushPatch::default()
        };
        let admin = Client::builder(&url).key(admin_key).build()?;
        admin.update_settings(SettingsPatch { push: Some(push), ..SettingsPatch::default() }).await?;
    }

    let client = Client::builder(&url).key(key).build()?;
    rt::spawn(async move {
        let mut schedule = rt::time::interval(every);
        loop {
            schedule.tick().await;
            match catch_up(&client, &archive).await {
                Ok(summary) => println!("archive: {summary}"),
                Err(error) => eprintln!("archive: catching up failed, next try in {every:?}: {error}"),
            }
        }
    });
    println!("archive: takes pushes at http://{listen}/");
    Ok(receiver.await?)
}

/// Takes a push. The server repeats it until it is answered with 2xx.
async fn receive(
    request: HttpRequest,
    body: web::Bytes,
    verifier: web::Data<Verifier>,
    archive: web::Data<Archive>,
) -> HttpResponse {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let push = match verifier.verify(header, &body) {
        Ok(push) => push,
        Err(tidings_client::Error::Signature(_)) => return HttpResponse::Unauthorized().finish(),
        Err(_) => return HttpResponse::BadRequest().finish(),
    };
    match web::block(move || archive.store(push.document)).await {
        Ok(Ok(())) => HttpResponse::Ok().finish(),
        failed => {
            eprintln!("archive: a push could not be stored: {failed:?}");
            HttpResponse::ServiceUnavailable().finish()
        }
    }
}

/// Fetches what is not held yet, dismisses what is, and says what is there.
async fn catch_up(client: &Client, archive: &Archive) -> Result<String, AnyError> {
    // Dismissed or not: the server dismisses by itself what has been pushed, but perhaps to a disk now lost.
    let all = client.notifications().any_dismissed();
    let held = archive.held()?;
    let first_page = all.clone().oldest_first().after(Sequence::START).page_size(1).page().await?;
    // What is older has expired. From there on, no further than what is held without a gap.
    let oldest = first_page.data.first().map_or(1, |oldest| oldest.id.get());
    let cursor = (oldest..).find(|id| !held.contains(id)).unwrap_or(oldest) - 1;

    let last = Cell::new(cursor);
    let ids = all.after(cursor).page_size(1_000).items().map_ok(|item| item.data.id);
    let missed = ids.inspect_ok(|id| last.set(id.get())).try_filter(|id| ready(!held.contains(&id.get())));
    // In a page, users and entities are as they are now. A record wants them as they were then.
    let mut documents = pin!(missed.map_ok(|id| client.get(id)).try_buffered(8));
    let mut fetched = 0;
    while let Some(document) = documents.try_next().await? {
        let archive = archive.clone();
        web::block(move || archive.store(document)).await??;
        fetched += 1;
    }

    let held = archive.held()?;
    let open = client.notifications().page_size(1_000).items().map_ok(|item| item.data.id);
    let done: Vec<Sequence> = open.try_filter(|id| ready(held.contains(&id.get()))).try_collect().await?;
    for ids in done.chunks(MAX_OPERATIONS) {
        let flags = Flags { is_dismissed: Some(true), ..Flags::default() };
        ids.iter().fold(client.operations(), |all, id| all.update(*id, flags)).send().await?;
    }
    Ok(format!("fetched {fetched}, dismissed {}, {}", done.len(), describe(&held, last.get())))
}

/// What is held of everything up to `last`. What came later may still be on its way.
fn describe(held: &BTreeSet<i64>, last: i64) -> String {
    let mut gaps = Vec::new();
    let mut expected = 1;
    for id in held.range(..=last).copied().chain([last + 1]) {
        match id - expected {
            0 => {}
            1 => gaps.push(expected.to_string()),
            _ => gaps.push(format!("{expected}..{}", id - 1)),
        }
        expected = id + 1;
    }
    match (last, gaps.is_empty()) {
        (0, _) => "there is nothing yet".to_owned(),
        (_, true) => format!("holds 1..{last}, nothing missing"),
        (_, false) => {
            format!("holds {} of 1..{last}, missing {}", held.range(..=last).count(), gaps.join(", "))
        }
    }
}

/// A directory with one file for each notification.
#[derive(Clone)]
struct Archive {
    directory: Arc<PathBuf>,
}

impl Archive {
    fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        // Half-written files of a run that was killed.
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(Archive { directory: Arc::new(directory) })
    }

    /// Keeps a notification, unless it is held already. Once this returns, it survives a power cut.
    fn store(&self, mut document: NotificationDocument) -> io::Result<()> {
        // The state of its push is not part of the record.
        document.data.meta = None;
        let id = document.data.id;
        let path = self.directory.join(format!("{id}.json"));
        if !path.exists() {
            // A name of its own, since a push and the catch-up may bring the same notification at once.
            static WRITES: AtomicU64 = AtomicU64::new(0);
            let write = WRITES.fetch_add(1, Ordering::Relaxed);
            let temporary = self.directory.join(format!("{id}.{write}.tmp"));
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(&document)?)?;
            file.sync_all()?;
            fs::rename(temporary, path)?;
        }
        // The name, too, must be on the disk, also if another write has just made it.
        File::open(&*self.directory)?.sync_all()
    }

    /// The sequences of what is held.
    fn held(&self) -> io::Result<BTreeSet<i64>> {
        let mut held = BTreeSet::new();
        for entry in fs::read_dir(&*self.directory)? {
            let name = entry?.file_name();
            let id: Option<i64> = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            held.extend(id);
        }
        Ok(held)
    }
}

/// An option of the command line, `--name value`, or else of the environment, `TIDINGS_NAME`.
fn option(name: &str) -> Result<Option<String>, AnyError> {
    let flag = format!("--{name}");
    let mut arguments = std::env::args().skip_while(|argument| *argument != flag);
    if arguments.next().is_some() {
        return Ok(Some(arguments.next().ok_or(format!("{flag} needs a value"))?));
    }
    let variable = format!("TIDINGS_{}", name.replace('-', "_").to_uppercase());
    Ok(std::env::var(variable).ok())
}
