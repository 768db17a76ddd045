//! The arguments of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::*;
use crate::config::Given;
use crate::output::Format;

/// Read, flag, post and catch up on the notifications of a Tidings server.
#[derive(Parser)]
#[command(name = "tidings", version, max_term_width = 100, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
The server and the key come from --url and --key, from TIDINGS_URL and TIDINGS_KEY, or from a
profile of ~/.config/tidings/config.toml:
  profile = \"work\"
  [profiles.work]
  url = \"https://tidings.example.com\"
  key = \"tidings_consumer_…\"          # or: key-file = \"work.key\"

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 only a part was done, 4 nothing matches.";

/// What every command takes.
#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The server (TIDINGS_URL; else 127.0.0.1:8080 over http)
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The tenant's key; its role decides what is allowed (TIDINGS_KEY)
    #[arg(long, global = true, value_name = "KEY", hide_env_values = true)]
    key: Option<String>,
    /// A profile of the configuration file (TIDINGS_PROFILE)
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,
    /// The configuration file (TIDINGS_CONFIG)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How results are printed
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<Format>,
    /// No colours, also not on a terminal (NO_COLOR)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

impl Global {
    pub(crate) fn given(&self) -> Given {
        Given {
            url: self.url.clone(),
            key: self.key.clone(),
            profile: self.profile.clone(),
            config: self.config.clone(),
        }
    }
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List notifications, the newest first
    #[command(visible_alias = "list")]
    Ls(ls::Arguments),
    /// Show notifications
    Get(get::Arguments),
    /// Change flags: of ids, or of all that match
    Mark(mark::Arguments),
    /// Show the last notifications, and what comes
    Tail(tail::Arguments),
    /// Post events
    Post(post::Arguments),
    /// Read, change and try the tenant's settings
    #[command(subcommand)]
    Settings(settings::Command),
    /// Push notifications again
    Repush(repush::Arguments),
    /// List, watch and cancel jobs
    Jobs(jobs::Arguments),
    /// Show the push queue and its attempts
    Deliveries(deliveries::Arguments),
    /// Catch up into an inbox, and handle what is there: an archiver in any language
    Sync(sync::Sync),
    /// Take pushes into an inbox, catch up, and handle what is there
    Listen(sync::Listen),
    /// Show whether an inbox holds everything
    Verify(verify::Arguments),
    /// Look into an inbox, and try again what was given up
    Inbox(inbox::Arguments),
    /// Show which server and which key are used
    Config,
    /// Print a completion script
    Completion(completion::Arguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parses(line: &str) -> bool {
        Cli::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn command_lines_are_taken() {
        for line in [
            "tidings ls",
            "tidings list -n 5 --type close,print --since 2h --pushed failed -o ndjson",
            "tidings ls --sort -createdAt --all",
            "tidings --profile work get 7 10..20 -",
            "tidings mark read 7 --profile work",
            "tidings mark dismissed --type print --yes",
            "tidings tail -f -n 0 --undismissed",
            "tidings post --type close --comment x --data {} --event-id 1",
            "tidings post -",
            "tidings repush --pushed failed --dry-run",
            "tidings jobs",
            "tidings jobs -n 3",
            "tidings jobs watch 7477939e-6744-4f1c-9c3b-14332437d571",
            "tidings deliveries --status error --error timeout,connect --sort nextAttemptAt",
            "tidings deliveries attempts 7",
            "tidings settings get push.retry",
            "tidings settings set push.url=https://a.example push.rateLimit=null",
            "tidings settings test -o json",
            "tidings sync --inbox i.db --exec true --once",
            "tidings sync --inbox i.db --to-dir d --every 5m",
            "tidings sync --inbox i.db --forward-to http://a.example",
            "tidings listen --addr 0.0.0.0:9090 --inbox i.db --secret @s --exec true",
            "tidings verify",
            "tidings sync --exec true",
            "tidings inbox dead --inbox i.db",
            "tidings inbox --inbox i.db revive --all",
            "tidings completion zsh",
        ] {
            assert!(parses(line), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "tidings",
            "tidings ls --limit 5 --all",
            "tidings ls -n 0",
            "tidings get",
            "tidings mark seen 7",
            "tidings post",
            "tidings post --comment x",
            "tidings post --type close events.ndjson",
            "tidings jobs watch 7",
            "tidings deliveries --sort colour",
            "tidings settings set",
            "tidings sync --inbox i.db",
            "tidings sync --inbox i.db --exec true --to-dir d",
            "tidings sync --inbox i.db --exec true --once --every 5m",
            "tidings sync --inbox i.db --exec true --every 0s",
            "tidings inbox revive",
            "tidings tail --after 5 -n 3",
        ] {
            assert!(!parses(line), "{line}");
        }
    }
}
