//! `GET /notifications`: from query parameters to a query of the store, and from its result to links and cursors.

use chrono::DateTime;
use tidings_api::error::ErrorCode;
use tidings_api::event_type::EventType;
use tidings_api::jsonapi::Sequence;

use super::error::Error;
use super::paging::{self, AFTER, BEFORE};
use super::query::Parameters;
use super::shape::shape;
use crate::rules::document::{PageFrame, Shape};
use crate::rules::notification::{Micros, PushProgress, StoredNotification};
use crate::store::seam::{Filter, PageQuery, Seek};

/// The most that offset paging leaves out.
const MAX_OFFSET: i64 = 5000;
/// Signals' own names: JSON:API leaves names of small letters alone to itself.
const SIGNALS: [&str; 3] = ["status", "from", "to"];

/// How a list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Paging {
    /// Behind this cursor; none: from the beginning.
    After(Option<String>),
    /// Before this cursor, backwards.
    Before,
    /// By number, as Signals does.
    Offset,
}

/// What a request for a list asks for.
#[derive(Debug)]
pub(super) struct List {
    query: PageQuery,
    /// What is shown.
    pub(super) shape: Shape,
    size: i64,
    paging: Paging,
    ascending: bool,
    /// The parameters that every link carries.
    carried: Vec<(String, String)>,
}

impl List {
    /// Reads a query string. Which notifications are pending and which are paused depends on the tenant's push.
    ///
    /// # Errors
    /// 400 with the parameter that can't be used.
    pub(super) fn parse(query: &str, push_is_active: bool, strict: bool) -> Result<List, Error> {
        let mut parameters = Parameters::parse(query)?;
        if strict
            && let Some((name, _)) =
                parameters.pairs().iter().find(|(name, _)| SIGNALS.contains(&name.as_str()))
        {
            let detail = "JSON:API has no such name, and the profile asks for its rules: see filter[isDismissed] and filter[createdAt]";
            return Err(Error::new(ErrorCode::UnknownParameter, detail).of_parameter(name));
        }
        let carried = paging::carried(&parameters);
        let by_offset = is_by_offset(&parameters)?;
        let filter = filter(&mut parameters, push_is_active, Some(false))?;
        let (by_time, ascending) = match parameters.take("sort").as_deref() {
            None | Some("-sequence") => (false, false),
            Some("sequence") => (false, true),
            Some("-createdAt") => (true, false),
            Some("createdAt") => (true, true),
            Some(other) => {
                let detail = format!("{other:?} is not one of -sequence, sequence, -createdAt, createdAt");
                return Err(Error::parameter("sort", detail));
            }
        };
        let start = if by_time { Seek::CreatedAt(None) } else { Seek::Sequence(None) };
        let (mut seek, mut offset) = (start, 0);
        let (size, paging) = if by_offset {
            offset = parameters.number("page[offset]", 0, MAX_OFFSET)?.unwrap_or(0);
            (parameters.number("page[limit]", 1, 100)?.unwrap_or(20), Paging::Offset)
        } else {
            let size = paging::size(&mut parameters)?;
            let paging = match paging::cursor(&mut parameters)? {
                None => Paging::After(None),
                Some((AFTER, after)) if after == "0" => Paging::After(Some(after)),
                Some((name, text)) => {
                    seek = cursor(name, &text, by_time)?;
                    if name == AFTER { Paging::After(Some(text)) } else { Paging::Before }
                }
            };
            (size, paging)
        };
        let shape = shape(&mut parameters, strict)?;
        parameters.finish()?;
        let backwards = paging == Paging::Before;
        // One more than is shown tells whether there is another page.
        let query = PageQuery { filter, seek, ascending: ascending != backwards, limit: size + 1, offset };
        Ok(List { query, shape, size, paging, ascending, carried })
    }

    /// What to ask the store.
    pub(super) fn query(&self) -> &PageQuery {
        &self.query
    }

    /// Whether the list can be followed: from a cursor towards what is new, in the order in which it arrives.
    pub(super) fn can_wait(&self) -> bool {
        self.ascending
            && matches!(self.query.seek, Seek::Sequence(_))
            && matches!(self.paging, Paging::After(Some(_)))
    }

    /// The sequence behind which everything is asked for, if retention may have removed some of it.
    pub(super) fn cursor(&self) -> Option<i64> {
        match (&self.paging, self.query.seek) {
            (Paging::After(_), Seek::Sequence(at)) if self.ascending => at,
            _ => None,
        }
    }

    /// Puts what was fetched into the order of the list. True: there is more in the direction in which it was read.
    pub(super) fn arrange(&self, found: &mut Vec<StoredNotification>) -> bool {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = found.len() > size;
        found.truncate(size);
        if self.paging == Paging::Before {
            found.reverse();
        }
        more
    }

    /// After reading backwards: the query that tells whether there is a page after this one.
    pub(super) fn probe(&self, page: &[StoredNotification]) -> Option<PageQuery> {
        let seek = match page.last() {
            _ if self.paging != Paging::Before => return None,
            Some(last) => self.place(last),
            None => match self.query.seek {
                Seek::Sequence(_) => Seek::Sequence(None),
                Seek::CreatedAt(_) => Seek::CreatedAt(None),
            },
        };
        Some(PageQuery { seek, ascending: self.ascending, limit: 1, ..self.query.clone() })
    }

    fn place(&self, notification: &StoredNotification) -> Seek {
        match self.query.seek {
            Seek::Sequence(_) => Seek::Sequence(Some(notification.sequence)),
            Seek::CreatedAt(_) => {
                Seek::CreatedAt(Some((notification.content.created_at, notification.sequence)))
            }
        }
    }

    /// The links and the cursor of a page. `url` is that of the list, `asked` the query string as it came; `more`: what
    /// [`List::arrange`] answered; `probed`: whether [`List::probe`] found something.
    pub(super) fn frame(
        &self,
        url: &str,
        asked: &str,
        page: &[StoredNotification],
        more: bool,
        probed: bool,
    ) -> PageFrame {
        let this = paging::this(url, asked);
        let start = paging::link(url, &self.carried, None);
        let link = |name: &str, value: &str| paging::link(url, &self.carried, Some((name, value)));
        let cursors = |at: &StoredNotification| text(self.place(at));
        let (first, last) = (page.first().map(cursors), page.last().map(cursors));
        match &self.paging {
            Paging::Offset => {
                let offset = self.query.offset;
                let shown = i64::try_from(page.len()).unwrap_or(self.size);
                let next = Some(offset + shown).filter(|next| more && *next <= MAX_OFFSET);
                let prev = Some((offset - self.size).max(0)).filter(|_| offset > 0);
                let to = |offset: i64| link("page[offset]", &offset.to_string());
                PageFrame { this, first: to(0), prev: prev.map(to), next: next.map(to), after: None }
            }
            Paging::After(asked) => {
                let began = asked.as_deref().is_none_or(|after| after == "0");
                let prev = first.or_else(|| self.behind()).filter(|_| !began);
                let after = last.clone().or_else(|| asked.clone()).unwrap_or_else(|| "0".to_owned());
                PageFrame {
                    this,
                    first: start,
                    prev: prev.map(|prev| link(BEFORE, &prev)),
                    next: last.filter(|_| more).map(|next| link(AFTER, &next)),
                    after: Some(after),
                }
            }
            Paging::Before => {
                let after = last.unwrap_or_else(|| "0".to_owned());
                PageFrame {
                    this,
                    first: start,
                    prev: first.filter(|_| more).map(|prev| link(BEFORE, &prev)),
                    next: probed.then(|| link(AFTER, &after)),
                    after: Some(after),
                }
            }
        }
    }

    /// For an empty page: the cursor whose page before ends with the item at the cursor that was asked for.
    fn behind(&self) -> Option<String> {
        let step = if self.ascending { 1 } else { -1 };
        Some(text(match self.query.seek {
            Seek::Sequence(at) => Seek::Sequence(Some(at?.saturating_add(step))),
            Seek::CreatedAt(at) => Seek::CreatedAt(at.map(|(time, at)| (time, at.saturating_add(step)))),
        }))
    }
}

/// Whether a list is paged by number: when a parameter of Signals Notebook says so and none of the cursor's.
fn is_by_offset(parameters: &Parameters) -> Result<bool, Error> {
    let by_cursor = ["page[size]", AFTER, BEFORE].into_iter().find(|name| parameters.has(name));
    let by_offset = ["page[limit]", "page[offset]"].into_iter().find(|name| parameters.has(name));
    match (by_offset, by_cursor) {
        (Some(offset), Some(cursor)) => {
            Err(Error::parameter(offset, format!("{offset} can't be combined with {cursor}")))
        }
        (Some(_), None) => Ok(true),
        (None, Some(_)) => Ok(false),
        (None, None) => Ok(["status", "from", "to"].into_iter().any(|name| parameters.has(name))),
    }
}

/// The parameters that select notifications. `by_default`: those that are dismissed or not, where nothing is said of it.
///
/// # Errors
/// 400 with the parameter that can't be used.
pub(super) fn filter(
    parameters: &mut Parameters,
    push_is_active: bool,
    by_default: Option<bool>,
) -> Result<Filter, Error> {
    let is_dismissed = match (flag(parameters, "filter[isDismissed]")?, status(parameters)?) {
        (Some(_), Some(_)) => {
            return Err(Error::parameter("status", "status and filter[isDismissed] exclude each other"));
        }
        (Some(given), None) | (None, Some(given)) => given,
        (None, None) => by_default,
    };
    let types = parameters.list("filter[type]")?.unwrap_or_default();
    if let Some(illegal) = types.iter().find(|name| name.parse::<EventType>().is_err()) {
        return Err(Error::parameter(
            "filter[type]",
            format!("{illegal:?} is not the name of an event type"),
        ));
    }
    let push = match parameters.list("filter[push]")? {
        Some(names) => Some(progress(&names, push_is_active)?),
        None => None,
    };
    Ok(Filter {
        is_dismissed,
        is_read: flag(parameters, "filter[isRead]")?.flatten(),
        is_flagged: flag(parameters, "filter[isFlagged]")?.flatten(),
        types,
        entities: parameters.list("filter[entity]")?.unwrap_or_default(),
        created_by: parameters.list("filter[createdBy]")?.unwrap_or_default(),
        push,
        created_from: time(parameters, "filter[createdAt][ge]", "from")?,
        created_before: time(parameters, "filter[createdAt][lt]", "to")?,
    })
}

/// `true`, `false`, or both, which is the same as no condition.
fn flag(parameters: &mut Parameters, name: &str) -> Result<Option<Option<bool>>, Error> {
    match parameters.take(name).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(Some(true))),
        Some("false") => Ok(Some(Some(false))),
        Some("true,false" | "false,true") => Ok(Some(None)),
        Some(_) => Err(Error::parameter(name, "`true`, `false` or `true,false` is expected")),
    }
}

/// Signals' name for the filter by `isDismissed`. It may be empty.
fn status(parameters: &mut Parameters) -> Result<Option<Option<bool>>, Error> {
    let Some(text) = parameters.take("status").filter(|text| !text.is_empty()) else { return Ok(None) };
    let (mut dismissed, mut not_dismissed) = (false, false);
    for part in text.split(',') {
        match part.trim() {
            "dismissed" => dismissed = true,
            "notdismissed" => not_dismissed = true,
            _ => return Err(Error::parameter("status", "`dismissed`, `notdismissed` or both are expected")),
        }
    }
    Ok(Some((dismissed != not_dismissed).then_some(dismissed)))
}

fn progress(names: &[String], push_is_active: bool) -> Result<Vec<PushProgress>, Error> {
    let mut wanted = Vec::new();
    for name in names {
        match name.as_str() {
            "none" => wanted.push(PushProgress::None),
            "delivered" => wanted.push(PushProgress::Delivered),
            "failed" => wanted.push(PushProgress::Failed),
            // What waits is paused exactly while push is.
            "pending" if push_is_active => wanted.push(PushProgress::Pending),
            "paused" if !push_is_active => wanted.push(PushProgress::Pending),
            "pending" | "paused" => {}
            other => {
                let detail = format!("{other:?} is not one of none, pending, delivered, failed, paused");
                return Err(Error::parameter("filter[push]", detail));
            }
        }
    }
    Ok(wanted)
}

/// A time by one of its two names. Signals' may be empty.
fn time(parameters: &mut Parameters, name: &str, signals: &str) -> Result<Option<Micros>, Error> {
    let (own, other) = (parameters.take(name), parameters.take(signals));
    let (name, text) = match (own, other.filter(|text| !text.is_empty())) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::parameter(signals, format!("{signals} and {name} exclude each other")));
        }
        (Some(text), None) => (name, text),
        (None, Some(text)) => (signals, text),
    };
    read_time(name, text).map(Some)
}

/// Reads the time that a parameter has for its value.
///
/// # Errors
/// 400 when it is none.
pub(super) fn read_time(name: &str, text: String) -> Result<Micros, Error> {
    // An offset's plus sign arrives as a space where it was not encoded.
    let text = match text.rsplit_once(' ') {
        Some((time, offset)) if time.len() >= 19 && offset.len() == 5 => format!("{time}+{offset}"),
        _ => text,
    };
    match DateTime::parse_from_rfc3339(&text) {
        Ok(time) => Ok(time.timestamp_micros()),
        Err(_) => Err(Error::parameter(name, "a time as in 2023-12-13T20:42:50.427Z is expected")),
    }
}

/// Reads a cursor: a sequence, or a time with one.
fn cursor(name: &str, cursor: &str, by_time: bool) -> Result<Seek, Error> {
    let number = |text: &str| text.parse::<Sequence>().ok().map(Sequence::get);
    let seek = if by_time {
        let parts = cursor.split_once('_').and_then(|(time, at)| Some((number(time)?, number(at)?)));
        parts.map(|place| Seek::CreatedAt(Some(place)))
    } else {
        number(cursor).map(|at| Seek::Sequence(Some(at)))
    };
    seek.ok_or_else(|| Error::parameter(name, "it is no cursor of a list in this order; take it from a link"))
}

fn text(place: Seek) -> String {
    match place {
        Seek::Sequence(at) => at.unwrap_or(0).to_string(),
        Seek::CreatedAt(None) => "0".to_owned(),
        Seek::CreatedAt(Some((time, at))) => format!("{time}_{at}"),
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
