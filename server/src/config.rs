//! How the server is configured: flags, then environment variables, then a file, then defaults.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use serde::Deserialize;

use crate::alerts::{MailError, Mailer};
use crate::secrets::Secret;
use crate::store::DatabaseUrl;
use crate::telemetry::LogFormat;

/// The shortest operator key with which the server listens on anything but loopback.
const LEAST_KEY: usize = 24;

/// The command line.
#[derive(Parser)]
#[command(
    name = "tidings-server",
    version,
    about = "Keeps every notification, pushes it, and lets the receiver catch up"
)]
pub struct CommandLine {
    /// What is configured.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the server (the default)
    Serve,
    /// Bring the database's schema up to date, and end
    Migrate,
    /// Print the OpenAPI description of the HTTP interface
    Openapi,
    /// Print the configuration in force, secrets masked
    Config,
    /// Create and list tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Create, list and delete the keys of a tenant
    #[command(subcommand)]
    Key(KeyCommand),
    /// Copy the SQLite database to a new file while the server runs
    Backup {
        /// The file to write; it must not exist
        file: PathBuf,
    },
}

/// What to do with tenants.
#[derive(Subcommand)]
pub enum TenantCommand {
    /// Create a tenant; prints its id and its signing secret, once
    Create {
        /// Its name
        name: String,
    },
    /// List all tenants
    List,
}

/// What to do with keys.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create a key; prints it, once
    Create {
        /// The tenant's id
        tenant: String,
        /// producer, consumer or admin
        #[arg(long)]
        role: String,
        /// What the key is for
        #[arg(long, default_value = "command line")]
        name: String,
    },
    /// List the keys of a tenant
    List {
        /// The tenant's id
        tenant: String,
    },
    /// Delete a key
    Delete {
        /// The tenant's id
        tenant: String,
        /// The key's id
        key: String,
    },
}

/// Everything that can be set, each as a flag, an environment variable, or a member of the file.
#[derive(Args, Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// A TOML file with these options, named as the flags are
    #[arg(long, env = "TIDINGS_CONFIG", global = true)]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// The database: sqlite:PATH or postgres://… [default: sqlite:./tidings.db]
    #[arg(long, env = "TIDINGS_DATABASE_URL", global = true, hide_env_values = true)]
    database_url: Option<String>,
    /// A standby of the PostgreSQL database: lists are read from it whenever it has everything [default: none]
    #[arg(long, env = "TIDINGS_REPLICA_URL", global = true, hide_env_values = true)]
    replica_url: Option<String>,
    /// The address to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "TIDINGS_LISTEN", global = true)]
    listen: Option<SocketAddr>,
    /// The key that manages tenants; made and printed once on the first start if there is none
    #[arg(long, env = "TIDINGS_OPERATOR_KEY", global = true, hide_env_values = true)]
    operator_key: Option<String>,
    /// What links begin with, such as `https://notify.example.com` [default: taken from the request]
    #[arg(long, env = "TIDINGS_PUBLIC_URL", global = true)]
    public_url: Option<String>,
    /// Networks that pushes may reach although they are not public, as CIDRs with commas between them
    #[arg(long, env = "TIDINGS_ALLOW_EGRESS", global = true, value_delimiter = ',')]
    allow_egress: Option<Vec<IpNet>>,
    /// 32 bytes in base64 that encrypt stored secrets; made beside a SQLite database on the first start
    #[arg(long, env = "TIDINGS_SECRET_KEY", global = true, hide_env_values = true)]
    secret_key: Option<String>,
    /// How log lines are written [default: text]
    #[arg(long, env = "TIDINGS_LOG", global = true)]
    log: Option<LogFormat>,
    /// The mail server for alerts: `smtp://user:password@host:587` (STARTTLS) or `smtps://…` [default: none, no mail]
    #[arg(long, env = "TIDINGS_SMTP_URL", global = true, hide_env_values = true)]
    smtp_url: Option<String>,
    /// The address that alerts are sent from, such as `tidings@example.com`
    #[arg(long, env = "TIDINGS_ALERT_FROM", global = true)]
    alert_from: Option<String>,
    /// Threads that answer requests [default: one for each core]
    #[arg(long, env = "TIDINGS_WORKERS", global = true)]
    workers: Option<usize>,
}

/// The configuration in force.
pub struct Config {
    /// Where the database is.
    pub database: DatabaseUrl,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The operator's key, if it was given.
    pub operator_key: Option<Secret>,
    /// What links begin with, without a slash at the end.
    pub public_url: Option<String>,
    /// Networks that pushes may reach although they are not public.
    pub allow_egress: Vec<IpNet>,
    /// What encrypts stored secrets, if it was given.
    pub secret_key: Option<Secret>,
    /// How log lines are written.
    pub log: LogFormat,
    /// Sends alerts by mail, if a mail server was given.
    pub mailer: Option<Mailer>,
    /// Threads that answer requests.
    pub workers: usize,
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("the configuration file {} can't be read", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The file is not as it should be.
    #[error("the configuration file {} can't be used: {reason}", .file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The database URL can't be used.
    #[error(transparent)]
    Database(#[from] crate::store::error::StoreError),
    /// The public URL can't be used.
    #[error("--public-url {0:?} can't be used: an http or https URL without query is expected")]
    PublicUrl(String),
    /// There are too few workers.
    #[error("--workers must be at least 1")]
    Workers,
    /// A key that anybody has.
    #[error("--operator-key (or TIDINGS_OPERATOR_KEY) is empty; leave it out to have one made")]
    EmptyKey,
    /// The server would be open to others without a key that keeps them out.
    #[error(
        "listening on {0}, which others can reach, needs --operator-key (or TIDINGS_OPERATOR_KEY) with at least {LEAST_KEY} \
         characters"
    )]
    OperatorKey(SocketAddr),
    /// Mail can't be sent like this.
    #[error(transparent)]
    Mail(#[from] MailError),
}

fn read(path: &Path) -> Result<Options, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File(path.to_owned(), error))?;
    // The message alone: the whole error would show the line, which may hold a secret.
    toml::from_str(&text)
        .map_err(|error| ConfigError::Toml { file: path.to_owned(), reason: error.message().to_owned() })
}

impl Config {
    /// Puts the configuration together.
    ///
    /// # Errors
    /// What can't be used, and why.
    pub fn new(flags: Options) -> Result<Self, ConfigError> {
        let file = flags.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let url =
            flags.database_url.or(file.database_url).unwrap_or_else(|| "sqlite:./tidings.db".to_owned());
        let mut database = url.parse::<DatabaseUrl>()?;
        if let Some(replica) = flags.replica_url.or(file.replica_url) {
            database = database.with_replica(&replica)?;
        }
        let listen = flags.listen.or(file.listen).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080)));
        let operator_key = flags.operator_key.or(file.operator_key);
        if operator_key.as_ref().is_some_and(|key| key.trim().is_empty()) {
            return Err(ConfigError::EmptyKey);
        }
        if !listen.ip().is_loopback()
            && operator_key.as_ref().is_none_or(|key| key.chars().count() < LEAST_KEY)
        {
            return Err(ConfigError::OperatorKey(listen));
        }
        let public_url = flags.public_url.or(file.public_url).map(public_url).transpose()?;
        let sender = flags.alert_from.or(file.alert_from);
        let mailer = match flags.smtp_url.or(file.smtp_url) {
            Some(url) => Some(Mailer::new(&url, sender.as_deref().ok_or(MailError::NoSender)?)?),
            None => None,
        };
        let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
        let workers = flags.workers.or(file.workers).unwrap_or(cores);
        if workers == 0 {
            return Err(ConfigError::Workers);
        }
        Ok(Config {
            database,
            listen,
            operator_key: operator_key.map(Secret::new),
            public_url,
            allow_egress: flags.allow_egress.or(file.allow_egress).unwrap_or_default(),
            secret_key: flags.secret_key.or(file.secret_key).map(Secret::new),
            log: flags.log.or(file.log).unwrap_or_default(),
            mailer,
            workers,
        })
    }

    /// What the links in pushed bodies begin with.
    pub fn push_base(&self) -> String {
        let host = self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen));
        format!("{host}{}", tidings_api::BASE_PATH)
    }
}

fn public_url(text: String) -> Result<String, ConfigError> {
    match url::Url::parse(&text) {
        Ok(url)
            if matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none() =>
        {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(ConfigError::PublicUrl(text)),
    }
}

/// As a TOML file, with secrets masked.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |name: &str, secret: &Option<Secret>| match secret {
            Some(_) => format!("{name} = \"***\""),
            None => format!("# {name} is not given"),
        };
        writeln!(f, "database-url = {:?}", self.database.to_string())?;
        match self.database.replica() {
            Some(replica) => writeln!(f, "replica-url = {:?}", replica.to_string())?,
            None => writeln!(f, "# replica-url is not given")?,
        }
        writeln!(f, "listen = {:?}", self.listen.to_string())?;
        writeln!(f, "{}", masked("operator-key", &self.operator_key))?;
        match &self.public_url {
            Some(url) => writeln!(f, "public-url = {url:?}")?,
            None => writeln!(f, "# public-url is taken from the request")?,
        }
        let networks: Vec<String> = self.allow_egress.iter().map(ToString::to_string).collect();
        writeln!(f, "allow-egress = {networks:?}")?;
        writeln!(f, "{}", masked("secret-key", &self.secret_key))?;
        match &self.mailer {
            Some(mailer) => {
                writeln!(f, "smtp-url = {:?}", mailer.url())?;
                writeln!(f, "alert-from = {:?}", mailer.from())?;
            }
            None => writeln!(f, "# smtp-url is not given: no mail is sent")?,
        }
        writeln!(f, "log = {:?}", format!("{:?}", self.log).to_lowercase())?;
        writeln!(f, "workers = {}", self.workers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_can_t_reach_the_server_without_a_long_operator_key() {
        let open = |key: Option<&str>| {
            Config::new(Options {
                listen: Some(([0, 0, 0, 0], 80).into()),
                operator_key: key.map(str::to_owned),
                ..Options::default()
            })
        };
        assert!(matches!(open(None), Err(ConfigError::OperatorKey(_))));
        assert!(matches!(open(Some("12345678901234567890123")), Err(ConfigError::OperatorKey(_))));
        assert!(open(Some("123456789012345678901234")).is_ok());
        assert!(Config::new(Options::default()).is_ok(), "loopback needs no key");
        let empty = Options { operator_key: Some(" ".to_owned()), ..Options::default() };
        assert!(matches!(Config::new(empty), Err(ConfigError::EmptyKey)), "an empty key keeps nobody out");
    }

    #[test]
    fn what_is_printed_is_a_file_that_could_be_read() {
        let shown = Config::new(Options::default()).unwrap().to_string();
        let read: Options = toml::from_str(&shown).unwrap();
        assert_eq!(read.listen, Some(([127, 0, 0, 1], 8080).into()));
    }

    #[test]
    fn mail_needs_a_sender_and_its_password_is_not_printed() {
        let with = |url: &str, from: Option<&str>| {
            Config::new(Options {
                smtp_url: Some(url.to_owned()),
                alert_from: from.map(str::to_owned),
                ..Options::default()
            })
        };
        let url = "smtp://user:s3cret@mail.example.com";
        let shown = with(url, Some("tidings@example.com")).unwrap().to_string();
        assert!(shown.contains("smtp://user:***@mail.example.com") && !shown.contains("s3cret"), "{shown}");
        for (url, from) in
            [(url, None), (url, Some("nobody")), ("http://user:s3cret@h", Some("a@example.com"))]
        {
            let error = with(url, from).err().unwrap();
            assert!(
                matches!(error, ConfigError::Mail(_)) && !error.to_string().contains("s3cret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_is_read_and_flags_go_before_it() {
        let file = std::env::temp_dir().join(format!("tidings-config-{}.toml", std::process::id()));
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nworkers = 3\noperator-key = \"s3cret\"\n").unwrap();
        let flags = |listen: Option<&str>| Options {
            config: Some(file.clone()),
            listen: listen.map(|listen| listen.parse().unwrap()),
            ..Options::default()
        };
        let config = Config::new(flags(Some("127.0.0.1:2"))).unwrap();
        assert_eq!((config.listen.port(), config.workers), (2, 3));
        let shown = config.to_string();
        assert!(!shown.contains("s3cret"), "{shown}");
        std::fs::write(&file, "operator-kee = \"s3cret\"\n").unwrap();
        let error = Config::new(flags(None)).err().unwrap().to_string();
        assert!(error.contains("operator-kee") && !error.contains("s3cret"), "{error}");
        std::fs::remove_file(&file).unwrap();
    }
}
