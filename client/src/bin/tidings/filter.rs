//! The API's filters as arguments, the same for every command that is about many notifications.

use chrono::{DateTime, Utc};
use clap::Args;
use tidings_client::{PushState, Query};

use crate::rows::push_state;
use crate::values::moment;

/// Which notifications.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which notifications")]
pub(crate) struct Filter {
    /// Only these event types
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) types: Vec<String>,
    /// Only those about these entities
    #[arg(long = "entity", value_name = "ID", value_delimiter = ',')]
    pub(crate) entities: Vec<String>,
    /// Only those caused by these users
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) created_by: Vec<String>,
    /// Only those whose push is: none, pending, delivered, failed, paused
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    pub(crate) pushed: Vec<PushState>,
    /// Only events from then on: 2h (ago), 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only events before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    pub(crate) until: Option<DateTime<Utc>>,
    /// Only what is dismissed
    #[arg(long, conflicts_with_all = ["undismissed", "with_dismissed"])]
    pub(crate) dismissed: bool,
    /// Only what is not dismissed: the default, but for `tail`
    #[arg(long, conflicts_with = "with_dismissed")]
    pub(crate) undismissed: bool,
    /// Dismissed or not
    #[arg(long)]
    pub(crate) with_dismissed: bool,
    /// Only what is read
    #[arg(long, conflicts_with = "unread")]
    pub(crate) read: bool,
    /// Only what is not read
    #[arg(long)]
    pub(crate) unread: bool,
    /// Only what is flagged
    #[arg(long, conflicts_with = "unflagged")]
    pub(crate) flagged: bool,
    /// Only what is not flagged
    #[arg(long)]
    pub(crate) unflagged: bool,
}

fn parse_state(text: &str) -> Result<PushState, String> {
    let all =
        [PushState::None, PushState::Pending, PushState::Delivered, PushState::Failed, PushState::Paused];
    let found = all.into_iter().find(|state| push_state(*state) == text);
    found.ok_or_else(|| "one of none, pending, delivered, failed, paused is expected".to_owned())
}

/// Both a flag and its opposite: which of them is asked for, if any.
fn either(yes: bool, no: bool) -> Option<bool> {
    match (yes, no) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

impl Filter {
    /// Whether nothing is asked for. Then all that is not dismissed is meant.
    pub(crate) fn is_empty(&self) -> bool {
        let lists = [self.types.is_empty(), self.entities.is_empty(), self.created_by.is_empty()];
        let flags = [self.dismissed, self.undismissed, self.with_dismissed, self.read, self.unread];
        lists.into_iter().all(|empty| empty)
            && self.pushed.is_empty()
            && self.since.is_none()
            && self.until.is_none()
            && !flags.into_iter().chain([self.flagged, self.unflagged]).any(|set| set)
    }

    /// Has dismissed notifications found too, unless something else is asked for.
    pub(crate) fn or_any(mut self) -> Self {
        self.with_dismissed = !self.dismissed && !self.undismissed;
        self
    }

    /// The list of what matches.
    pub(crate) fn apply(&self, mut query: Query) -> Query {
        if !self.types.is_empty() {
            query = query.types(&self.types);
        }
        if !self.entities.is_empty() {
            query = query.entities(&self.entities);
        }
        if !self.created_by.is_empty() {
            query = query.created_by(&self.created_by);
        }
        if !self.pushed.is_empty() {
            query = query.push_states(self.pushed.iter().copied());
        }
        if let Some(since) = self.since {
            query = query.created_from(since);
        }
        if let Some(until) = self.until {
            query = query.created_before(until);
        }
        if let Some(read) = either(self.read, self.unread) {
            query = query.read(read);
        }
        if let Some(flagged) = either(self.flagged, self.unflagged) {
            query = query.flagged(flagged);
        }
        if self.with_dismissed { query.any_dismissed() } else { query.dismissed(self.dismissed) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tidings_client::Client;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        filter: Filter,
    }

    fn parse(arguments: &str) -> Result<Filter, clap::Error> {
        let arguments = std::iter::once("tidings").chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments).map(|cli| cli.filter)
    }

    /// The query's parameters, as it shows them.
    fn query(arguments: &str) -> String {
        let client = Client::builder("http://127.0.0.1:1").key("key").build().unwrap();
        format!("{:?}", parse(arguments).unwrap().apply(client.notifications()))
    }

    #[test]
    fn arguments_are_the_filters_of_the_api() {
        let all = "--type close,print --type sign --pushed failed,paused --unread --flagged --entity e:1 \
                   --created-by 100 --since 2026-01-31 --until 2026-02-01T00:00:00.5Z";
        for (arguments, name, value) in [
            ("", "filter[isDismissed]", "false"),
            ("--dismissed", "filter[isDismissed]", "true"),
            ("--with-dismissed", "filter[isDismissed]", "true,false"),
            ("--read --unflagged", "filter[isRead]", "true"),
            ("--read --unflagged", "filter[isFlagged]", "false"),
            (all, "filter[isDismissed]", "false"),
            (all, "filter[isRead]", "false"),
            (all, "filter[isFlagged]", "true"),
            (all, "filter[type]", "close,print,sign"),
            (all, "filter[push]", "failed,paused"),
            (all, "filter[entity]", "e:1"),
            (all, "filter[createdBy]", "100"),
            (all, "filter[createdAt][ge]", "2026-01-31T00:00:00.000Z"),
            (all, "filter[createdAt][lt]", "2026-02-01T00:00:00.500Z"),
        ] {
            let (query, pair) = (query(arguments), format!("({name:?}, {value:?})"));
            assert!(query.contains(&pair), "{pair} is not in {query}");
        }
        assert!(!query("").contains("isRead"));
    }

    #[test]
    fn opposites_exclude_each_other() {
        for wrong in [
            "--read --unread",
            "--flagged --unflagged",
            "--dismissed --with-dismissed",
            "--dismissed --undismissed",
            "--undismissed --with-dismissed",
            "--pushed gone",
            "--since never",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_asked_for_is_known_as_such() {
        assert!(parse("").unwrap().is_empty());
        for some in
            ["--type a", "--unflagged", "--pushed none", "--until 1h", "--undismissed", "--with-dismissed"]
        {
            assert!(!parse(some).unwrap().is_empty(), "{some}");
        }
    }
}
