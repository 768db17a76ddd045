//! An archive: keeps every notification of a tenant on disk, once each, and shows that none is missing.
//!
//! ```text
//! cargo run --release -p tidings-client --features actix-web --example archive -- --url http://127.0.0.1:8080 \
//!     --key CONSUMER_KEY --secret whsec_… --listen 127.0.0.1:9090 --dir ./archive-demo
//! ```
//!
//! Kill it whenever you like, post events meanwhile, and start it again: it fetches what it missed. Each record is a
//! file, named by its sequence; the inbox, from which the files are made, lies beside the directory. A push is
//! answered only when it is safe in the inbox; what was fetched is dismissed only when its file is safe. A file that was
//! lost is made again at the next start. Sequences have no gaps, so the names of the files are the proof.
//!
//! `--every SECONDS` sets how often it catches up (30). `--demo-admin-key KEY` has the server push to it and
//! dismiss what it has taken; otherwise an admin sets that up. All of it can also come from the environment:
//! `TIDINGS_URL`, `TIDINGS_KEY`, `TIDINGS_SECRET`, and so on.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::{App, HttpServer, rt, web};
use tidings_client::archiver::{Outcome::Done, every};
use tidings_client::{Archiver, Client, Inbox, PushPatch, Sequence, SettingsPatch};

type AnyError = Box<dyn std::error::Error>;

#[actix_web::main]
async fn main() -> Result<(), AnyError> {
    let url = option("url")?.unwrap_or("http://127.0.0.1:8080".to_owned());
    let key = option("key")?.ok_or("--key is required: a key of the role consumer")?;
    let secret = option("secret")?.ok_or("--secret is required: the tenant's signing secret, whsec_…")?;
    let listen = option("listen")?.unwrap_or("127.0.0.1:9090".to_owned());
    let interval = Duration::from_secs(option("every")?.unwrap_or("30".to_owned()).parse()?);
    let dir = PathBuf::from(option("dir")?.unwrap_or("./archive-demo".to_owned()));
    fs::create_dir_all(&dir)?;

    let inbox = Inbox::open(dir.with_extension("db"))?;
    let lost = inbox.held().await?.into_iter().flatten().filter(|id| !record(&dir, id).exists());
    inbox.replay(lost.map(Sequence::new).collect::<Result<Vec<_>, _>>()?).await?;

    let client = Client::builder(&url).key(key).build()?;
    let archiver = Archiver::builder(client, inbox)
        .secret(secret)
        .otherwise(move |item, _| {
            let dir = dir.clone();
            async move {
                web::block(move || store(&dir, item.id(), item.raw())).await??;
                Ok(Done)
            }
        })
        .catch_up(every(interval))
        .build()?;

    let taking = archiver.clone();
    let receiver =
        HttpServer::new(move || App::new().service(taking.receiver("/"))).workers(1).bind(&listen)?.run();
    println!("archive: takes pushes at http://{listen}/");
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

    rt::spawn(report(archiver.clone(), interval));
    // Ctrl-C ends the receiver, and with it the archiver.
    Ok(archiver.run(receiver).await?)
}

/// Says what is there, again and again.
async fn report(archiver: Archiver, interval: Duration) {
    loop {
        rt::time::sleep(interval).await;
        let told =
            async { Ok::<_, tidings_client::Error>((archiver.verify().await?, archiver.health().await?)) };
        match told.await {
            Ok((proof, health)) => {
                println!("archive: {proof}; {} still to be filed", health.depth + health.dead)
            }
            Err(error) => eprintln!("archive: {error}"),
        }
    }
}

/// Where a record is kept.
fn record(dir: &Path, id: impl std::fmt::Display) -> PathBuf {
    dir.join(format!("{id}.json"))
}

/// Keeps a record. Once this returns, it survives a power cut.
fn store(dir: &Path, id: Sequence, document: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{id}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(document.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, record(dir, id))?;
    // The name, too, must be on the disk.
    File::open(dir)?.sync_all()
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
