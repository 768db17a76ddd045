//! How the command ends: its exit code, and what it says when something went wrong and what to do about it.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;

use tidings_client::api::error::ErrorSource;
use tidings_client::{Error, ErrorCode};

use crate::output::printable;

/// How a command ends when it could do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All was done.
    Done = 0,
    /// It was tried, and did not work.
    Failed = 1,
    /// The arguments can't be used, or a question was not answered.
    Usage = 2,
    /// A part was done.
    Partial = 3,
    /// Nothing matches.
    Nothing = 4,
}

impl Exit {
    /// How work on many ends: all done, some, or none.
    pub(crate) fn of(done: usize, failed: usize) -> Exit {
        match (done, failed) {
            (_, 0) => Exit::Done,
            (0, _) => Exit::Failed,
            _ => Exit::Partial,
        }
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Empty where there is nothing to say.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure { exit: Exit::Failed, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { exit: Exit::Usage, ..Failure::new(message) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit(self, exit: Exit) -> Self {
        Failure { exit, ..self }
    }
}

impl From<io::Error> for Failure {
    /// For the standard output: whoever has stopped reading it has what they wanted.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new("").exit(Exit::Done),
            _ => Failure::new(format!("the output can't be written: {error}")),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Failure::new(message(&error));
        match hint(&error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// An error and what is behind it, in a line.
pub(crate) fn message(error: &Error) -> String {
    let Error::Api { status, errors, .. } = error else { return printable(&chain(error)) };
    if errors.is_empty() {
        return format!("{status}, without the server's own words: does a proxy stand before it?");
    }
    let mut text = String::new();
    for error in errors {
        let separator = if text.is_empty() { "" } else { "; " };
        // A String takes whatever is written to it.
        let _ = write!(text, "{separator}{}", error.detail.trim_end_matches('.'));
        match &error.source {
            Some(ErrorSource::Pointer(pointer)) => {
                let _ = write!(text, ", at {}", dotted(pointer));
            }
            Some(ErrorSource::Parameter(name)) if !error.detail.contains(name.as_str()) => {
                let _ = write!(text, ", in {name}");
            }
            _ => {}
        }
        let _ = write!(text, " ({} {})", error.status, error.code.as_str());
    }
    printable(&text)
}

/// An error and its sources, as one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// A JSON pointer as the name of a setting: `/data/attributes/push/url` is `push.url`.
fn dotted(pointer: &str) -> String {
    let below = pointer.strip_prefix("/data/attributes/");
    below.map_or_else(|| pointer.to_owned(), |path| path.replace('/', "."))
}

fn hint(error: &Error) -> Option<String> {
    let text = match error {
        Error::Api { status, retry_after, .. } => match (error.code(), status) {
            (Some(ErrorCode::CursorExpired), _) => {
                let oldest = error.oldest().map_or(String::new(), |id| format!(" The oldest is {id}."));
                return Some(format!("Go on from the beginning of what is kept: --after 0.{oldest}"));
            }
            (_, 401) => "Is the key right, and made by this server? `tidings config` shows which is used.",
            (_, 403) => "Use a key with the role for it: --key, TIDINGS_KEY, or another --profile.",
            (Some(ErrorCode::BlockedAddress), _) => {
                "The operator can allow the network: tidings-server --allow-egress CIDR."
            }
            (None, 404) => "Is the URL that of a Tidings server? `tidings config` shows which is used.",
            (_, 429 | 503) => match retry_after {
                Some(after) => return Some(format!("Try again in {} s.", after.as_secs().max(1))),
                None => "Try again in a moment.",
            },
            (_, 500..) => "Try again; if it stays so, the server's log says more.",
            _ => return None,
        },
        Error::Transport(_) => {
            "Is the server running, and the URL right? `tidings config` shows which is used."
        }
        Error::Timeout(_) => "The server is slow, or not reachable. Try again.",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_done_is_neither_done_nor_failed() {
        assert_eq!(Exit::of(3, 0), Exit::Done);
        assert_eq!(Exit::of(0, 0), Exit::Done);
        assert_eq!(Exit::of(0, 2), Exit::Failed);
        assert_eq!(Exit::of(1, 2), Exit::Partial);
    }

    #[test]
    fn the_place_of_an_error_is_named_as_it_is_typed() {
        assert_eq!(dotted("/data/attributes/push/retry/kind"), "push.retry.kind");
        assert_eq!(dotted("/data/type"), "/data/type");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((closed.exit, closed.message.as_str()), (Exit::Done, ""));
        assert_eq!(Failure::from(io::Error::other("full")).exit, Exit::Failed);
    }
}
