//! The commands, one file each, and what they share.

mod bulk;
pub(crate) mod completion;
pub(crate) mod deliveries;
pub(crate) mod get;
pub(crate) mod inbox;
pub(crate) mod jobs;
pub(crate) mod ls;
pub(crate) mod mark;
pub(crate) mod post;
pub(crate) mod repush;
pub(crate) mod settings;
pub(crate) mod sync;
pub(crate) mod tail;
pub(crate) mod verify;

use tidings_client::Client;

use crate::cli::{Cli, Command, Global};
use crate::config::{Connection, Sourced};
use crate::failure::{Exit, Failure};
use crate::output::{Mood, Out, pairs};

/// How a command ends.
pub(crate) type Outcome = Result<Exit, Failure>;

/// What a command works with.
pub(crate) struct Context {
    pub(crate) out: Out,
    pub(crate) connection: Connection,
}

impl Context {
    fn new(global: &Global) -> Result<Self, Failure> {
        let out = Out::new(global.output, global.no_color, global.quiet);
        let connection = Connection::find(global.given(), |name| std::env::var(name).ok())?;
        if let Some(warning) = &connection.warning {
            out.note(&format!("tidings: {warning}"));
        }
        Ok(Context { out, connection })
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.connection.client()
    }
}

pub(crate) async fn run(cli: Cli) -> Outcome {
    let Cli { global, command } = cli;
    if let Command::Completion(arguments) = command {
        return completion::run(&arguments);
    }
    let context = Context::new(&global)?;
    match command {
        Command::Ls(arguments) => ls::run(&context, arguments).await,
        Command::Get(arguments) => get::run(&context, arguments).await,
        Command::Mark(arguments) => mark::run(&context, arguments).await,
        Command::Tail(arguments) => tail::run(&context, arguments).await,
        Command::Post(arguments) => post::run(&context, arguments).await,
        Command::Settings(command) => settings::run(&context, command).await,
        Command::Repush(arguments) => repush::run(&context, arguments).await,
        Command::Jobs(arguments) => jobs::run(&context, arguments).await,
        Command::Deliveries(arguments) => deliveries::run(&context, arguments).await,
        Command::Sync(arguments) => sync::sync(&context, arguments).await,
        Command::Listen(arguments) => sync::listen(&context, arguments).await,
        Command::Verify(arguments) => verify::run(&context, arguments).await,
        Command::Inbox(arguments) => inbox::run(&context, arguments).await,
        Command::Config => config(&context),
        Command::Completion(arguments) => completion::run(&arguments),
    }
}

/// Shows what is in force, the key masked.
fn config(context: &Context) -> Outcome {
    let Connection { file, profile, url, key, .. } = &context.connection;
    let file = file.as_ref().map(|file| file.display().to_string());
    let shown = |sourced: &Sourced| (sourced.value.clone(), sourced.source.clone());
    let key = key.as_ref().map(|key| (mask(&key.value), key.source.clone()));
    let (url, url_source) = shown(url);
    if !context.out.is_table() {
        context.out.json(&serde_json::json!({
            "file": file,
            "profile": profile,
            "url": url,
            "key": key.map(|(key, _)| key),
        }))?;
        return Ok(Exit::Done);
    }
    let or_none = |value: Option<String>| match value {
        Some(value) => Mood::Plain.of(value),
        None => Mood::Faint.of("none"),
    };
    let key = key.map(|(key, source)| format!("{key}, from {source}"));
    pairs(
        &context.out,
        [
            ("file".to_owned(), or_none(file)),
            ("profile".to_owned(), or_none(profile.clone())),
            ("url".to_owned(), Mood::Plain.of(format!("{url}, from {url_source}"))),
            ("key".to_owned(), or_none(key)),
        ],
    )?;
    Ok(Exit::Done)
}

/// A key by which it is known, and of no use.
fn mask(key: &str) -> String {
    let role = key.rfind('_').map_or(0, |end| end + 1);
    let shown: String = key.chars().take(role.min(20) + 4).collect();
    if key.len() > shown.len() + 8 { format!("{shown}…") } else { "…".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_key_is_of_no_use() {
        assert_eq!(mask("tidings_consumer_4avsFlCKxyzxyzxyz"), "tidings_consumer_4avs…");
        assert_eq!(mask("short"), "…");
    }
}
