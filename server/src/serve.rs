//! Runs the server: opens, starts and stops the rooms in their order.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::alerts::Alerts;
use crate::config::Config;
use crate::directory::Directory;
use crate::push::attempt::Attempts;
use crate::push::dispatcher::Dispatcher;
use crate::push::egress::Egress;
use crate::push::heartbeat::{self, Heartbeat};
use crate::push::prepared::Remembered;
use crate::push::sender::Sender;
use crate::push::token::Tokens;
use crate::push::verification::Permits;
use crate::push::watch::Watch;
use crate::secrets::{self, Vault};
use crate::store::error::StoreError;
use crate::store::{Opened, Store};
use crate::telemetry::Metrics;
use crate::{first_run, http, jobs, retention};

/// How long the end may take once everything is handed back.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secret key can't be used.
    #[error(transparent)]
    Seal(#[from] secrets::SealError),
    /// There is no secret key.
    #[error(
        "PostgreSQL needs --secret-key (or TIDINGS_SECRET_KEY), the same on every node; make one with \
         `openssl rand -base64 32`"
    )]
    NoSecretKey,
    /// A file beside the database can't be used.
    #[error("{path} can't be used")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address can't be listened on.
    #[error("{address} can't be listened on; choose another with --listen")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something else of the system failed.
    #[error("the server failed")]
    System(#[from] std::io::Error),
}

/// Keeps a second server from the same SQLite file, for as long as it lives.
fn lock(config: &Config) -> Result<Option<File>, ServeError> {
    let Some(database) = config.database.file() else { return Ok(None) };
    let path = format!("{database}.lock");
    let file = File::create(&path).map_err(|source| ServeError::File { path, source })?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(StoreError::InUse(database.to_owned()).into()),
    }
}

/// The vault for stored secrets: with the key from the configuration, or from the file beside a SQLite database.
///
/// # Errors
/// When there is no key, or it can't be used.
pub fn vault(config: &Config) -> Result<Vault, ServeError> {
    if let Some(key) = &config.secret_key {
        return Ok(Vault::new(key.reveal())?);
    }
    let Some(database) = config.database.file() else { return Err(ServeError::NoSecretKey) };
    let path = format!("{database}.key");
    let failed = |source| ServeError::File { path: path.clone(), source };
    if !std::path::Path::new(&path).exists() {
        // Written whole under another name first: a start that is interrupted leaves no half a key behind, and of two
        // at once only one sets it.
        let whole = format!("{path}.{}", std::process::id());
        let written = write_private(&whole, Vault::new_key().as_bytes())
            .and_then(|()| std::fs::hard_link(&whole, &path));
        let _ = std::fs::remove_file(&whole);
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
    }
    Ok(Vault::new(&std::fs::read_to_string(&path).map_err(failed)?)?)
}

/// Writes a file that only its owner may read.
fn write_private(path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it can't start, or can't go on.
pub fn run(config: Config) -> Result<(), ServeError> {
    let _lock = lock(&config)?;
    let vault = vault(&config)?;
    let metrics = Arc::new(Metrics::default());
    let senders = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    let Opened { store, to_lanes, writers } = Store::open(&config.database, &metrics, senders)?;
    actix_web::rt::System::new().block_on(serve(config, vault, metrics, store, to_lanes))?;

    // Every handle on the store is gone, so the writers end once everything is written.
    let deadline = std::time::Instant::now() + LAST_WORDS;
    while writers.iter().any(|writer| !writer.is_finished()) && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

async fn serve(
    config: Config,
    vault: Vault,
    metrics: Arc<Metrics>,
    store: Store,
    to_lanes: Vec<tokio::sync::mpsc::UnboundedReceiver<crate::store::ToLane>>,
) -> Result<(), ServeError> {
    let heartbeat = Heartbeat::join(&store, &config.database, config.listen).await?;
    let operator_key = first_run::prepare(&config, &store, &vault).await?;
    let directory = Arc::new(Directory::new(store.clone(), vault));
    let egress = Arc::new(Egress::new(config.allow_egress.clone()));
    let demo_loopback = config.listen.ip().is_loopback();

    let alerts = Arc::new(Alerts {
        store: store.clone(),
        directory: directory.clone(),
        metrics: metrics.clone(),
        egress: egress.clone(),
        mailer: config.mailer.clone(),
        watch: Arc::<Watch>::default(),
        demo_loopback,
    });
    let attempts = {
        let (egress, directory, metrics) = (egress.clone(), directory.clone(), metrics.clone());
        let base = config.push_base();
        let (tokens, permits) = (Arc::<Tokens>::default(), Arc::<Permits>::default());
        move || Attempts {
            sender: Sender::new(egress.clone()),
            tokens: tokens.clone(),
            permits: permits.clone(),
            directory: directory.clone(),
            prepared: Remembered::default(),
            metrics: metrics.clone(),
            base: base.clone(),
            demo_loopback,
        }
    };
    let dispatcher = Dispatcher::start(&store, to_lanes, &alerts.watch, attempts.clone())?;
    let (stop, stopping) = watch::channel(false);
    let state = http::State {
        store: store.clone(),
        directory: directory.clone(),
        alerts: alerts.clone(),
        egress,
        demo_loopback,
        metrics: metrics.clone(),
        operator_key,
        public_url: config.public_url.clone(),
        listen: config.listen,
        stopping: stopping.clone(),
        push_alive: dispatcher.alive(),
    };
    let listen = |source| ServeError::Listen { address: config.listen, source };
    let server = http::server(state, attempts, config.workers).map_err(listen)?;
    let handle = server.handle();
    let server = actix_web::rt::spawn(server);
    let (end, ending) = watch::channel(false);
    let heartbeat = actix_web::rt::spawn(heartbeat.run(ending.clone()));
    let noticing = actix_web::rt::spawn(alerts.clone().notice(ending));
    let telling = actix_web::rt::spawn(alerts.tell(stopping.clone()));
    let jobs = actix_web::rt::spawn(jobs::run(store.clone(), stopping.clone()));
    let retention = actix_web::rt::spawn(retention::run(store.clone(), metrics, stopping));
    if config.listen.ip().is_unspecified() && config.public_url.is_none() {
        tracing::warn!(
            "without --public-url the links in pushes lead to {}, which nobody can follow",
            config.listen
        );
    }
    tracing::info!(address = %config.listen, database = %config.database, "ready");

    stop_signal().await?;
    tracing::info!("stopping: what is in flight is finished, the rest is handed back");
    stop.send_replace(true);
    store.rooms().close_all();
    handle.stop(true).await;
    let ended = tokio::task::spawn_blocking(move || dispatcher.stop());
    let _ = tokio::join!(server, jobs, retention, telling, ended);
    // Only now: a node that falls silent while it still has something in flight is taken for dead.
    end.send_replace(true);
    let _ = tokio::join!(heartbeat, noticing);
    heartbeat::leave(&store).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
