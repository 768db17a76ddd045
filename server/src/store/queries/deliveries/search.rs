//! The search for deliveries: filtered and ordered by index.
//!
//! What a delivery's push state, attempts, error and response status are, its class says, more or less, and a tenant has
//! few classes (see the migration). So a list is put together from runs, each a range of one index: the classes, event types or times
//! that the filter chooses, one group of them behind the other as the order wants it, the runs of a group merged. What no
//! run can choose is a condition on its rows; if one part of the filter leaves only [`FEW`], those are read and put in order.
//! A list that takes too long all the same is given up, because others wait for its turn.

use std::cmp::Ordering;
use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::super::delivery::held;
use super::super::{Conn, dialect};
use crate::rules::notification::{Micros, PushProgress};
use crate::store::error::StoreError;
use crate::store::queue::{DeliveryOrder, DeliveryQuery, Place, Rank};
use crate::store::rows::{LEASED, error_number, push_number};
use crate::store::runs::{
    Bounds, Class, Conditions, EVERYTHING, JOINED, Run, classes, list, quoted, span, statement, types, within,
};
use crate::store::schema::positions;
use crate::store::seam::{Result, TenantId};

/// A filter that leaves no more than this many is answered by reading them all. Fewer in tests, which take both ways.
pub(super) const FEW: usize = if cfg!(test) { 200 } else { 1000 };

/// A part of an ordered list: the runs that are merged, and which keys and sequences of them.
struct Group {
    rank: Rank,
    runs: Vec<Run>,
    bounds: Bounds,
    conditions: Conditions,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = BigInt)]
    key: i64,
    #[diesel(sql_type = BigInt)]
    sequence: i64,
}

#[derive(QueryableByName)]
struct ClassValue {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    sequence: i64,
}

/// What decides on the place of a delivery.
#[derive(QueryableByName)]
struct Facts {
    #[diesel(sql_type = BigInt)]
    sequence: i64,
    #[diesel(sql_type = BigInt)]
    class: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    processed_at: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    due_at: Option<i64>,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
    #[diesel(sql_type = Text)]
    event_type: String,
}

/// A request on its way.
pub(super) struct Search<'a> {
    conn: &'a mut Conn,
    tenant: i64,
    query: &'a DeliveryQuery,
    /// The classes that the filter chooses, and whether it leaves any out.
    classes: Vec<i64>,
    narrowed: bool,
    /// What is put off has a `due_at` between these, both exclusive.
    put_off: (i64, i64),
    /// Under strict order: the first that waits, whose next attempt is at this time though it stands as due at once.
    held: Option<(i64, Micros)>,
    /// When it is given up, if ever.
    until: Option<Instant>,
}

impl Search<'_> {
    /// The places of a page, found by index alone.
    pub(super) fn run(
        conn: &mut Conn,
        tenant: TenantId,
        query: &DeliveryQuery,
        until: Option<Instant>,
    ) -> Result<Vec<Place>> {
        let last = positions::table.find(tenant.0).select(positions::last_sequence).first(conn).optional()?;
        let Some(last) = last else { return Ok(Vec::new()) };
        let put_off = (if query.push_is_active { last } else { LEASED }, LEASED);
        dialect::by_index(conn, |conn| {
            let held = if query.push_is_active { held(conn, tenant)? } else { None };
            let all: Vec<ClassValue> = diesel::sql_query(self::classes(tenant.0)).load(conn)?;
            let all = all.into_iter().map(|class| class.value);
            let (classes, others): (Vec<i64>, Vec<i64>) =
                all.partition(|class| Class(*class).matches(&query.filter));
            let narrowed = !others.is_empty();
            Search { conn, tenant: tenant.0, query, classes, narrowed, put_off, held, until }.find()
        })
    }

    fn find(&mut self) -> Result<Vec<Place>> {
        if self.classes.is_empty() {
            return Ok(Vec::new());
        }
        match self.few()? {
            Some(sequences) => self.sort(&sequences),
            None => self.walk(),
        }
    }

    /// Whether an attempt is put off.
    fn is_put_off(&self) -> String {
        let (low, high) = self.put_off;
        format!("states.push_state = 1 AND states.due_at > {low} AND states.due_at < {high}")
    }

    /// The bounds of those that are put off to a time that the filter chooses.
    fn due(&self) -> Bounds {
        let (low, high) = self.put_off;
        within(self.query.filter.next_attempt_at, ((low, i64::MAX), (high, 0)))
    }

    /// The conditions of the filter. Those that a run meets by itself do no harm.
    fn conditions(&self) -> Conditions {
        let filter = &self.query.filter;
        let mut state = vec!["states.push_state <> 0".to_owned()];
        state.extend(filter.states.as_ref().map(|states| {
            format!("states.push_state IN ({})", list(states.iter().map(|state| push_number(*state))))
        }));
        state.extend(filter.retries.as_ref().map(|retries| {
            // Before the first attempt there was no other either.
            let none = retries.contains(&0).then_some(0);
            let attempts = list(retries.iter().map(|retries| retries + 1).chain(none));
            format!("states.attempts IN ({attempts})")
        }));
        state.extend(filter.errors.as_ref().map(|errors| {
            format!("states.error IN ({})", list(errors.iter().map(|error| error_number(*error))))
        }));
        let statuses = filter.response_statuses.as_ref();
        state.extend(statuses.map(|statuses| format!("states.response_status IN ({})", list(statuses))));
        if self.query.up_to < i64::MAX {
            state.push(format!("states.sequence <= {}", self.query.up_to));
        }
        state.extend(span("states.processed_at", filter.last_processed_at));
        if filter.next_attempt_at.is_set() {
            let due = span("states.due_at", filter.next_attempt_at);
            let due = [self.is_put_off()].into_iter().chain(due).collect::<Vec<_>>().join(" AND ");
            state.push(match self.held.filter(|(_, until)| filter.next_attempt_at.holds(*until)) {
                Some((head, _)) => format!("({due} OR states.sequence = {head})"),
                None => due,
            });
        }
        let types = filter.event_types.as_ref().map(|types| list(types.iter().map(|name| quoted(name))));
        let types = types.map(|types| format!("notifications.event_type IN ({types})"));
        Conditions {
            state,
            event: span("notifications.created_at", filter.event_time).chain(types).collect(),
        }
    }

    fn of_classes(&self, run: fn(i64) -> Run) -> Vec<Run> {
        self.classes.iter().copied().map(run).collect()
    }

    /// All that one condition of the filter leaves, if they are few. Conditions that the walk meets by its choice of runs
    /// are not tried.
    fn few(&mut self) -> Result<Option<Vec<i64>>> {
        let (filter, order) = (&self.query.filter, self.query.order);
        if let Some(ids) = &filter.ids {
            return Ok(Some(ids.clone()));
        }
        let mut tries = Vec::new();
        if let Some(types) = filter.event_types.as_ref().filter(|_| order != DeliveryOrder::EventType) {
            tries.push((types.iter().cloned().map(Run::Type).collect(), EVERYTHING));
        }
        if filter.event_time.is_set() && order != DeliveryOrder::EventTime {
            tries.push((vec![Run::Created], within(filter.event_time, EVERYTHING)));
        }
        if filter.last_processed_at.is_set() && order != DeliveryOrder::LastProcessedAt {
            tries.push((self.of_classes(Run::Processed), within(filter.last_processed_at, EVERYTHING)));
        }
        if filter.next_attempt_at.is_set() && order != DeliveryOrder::NextAttemptAt {
            tries.push((vec![Run::Due], self.due()));
        }
        let by_event = [DeliveryOrder::EventType, DeliveryOrder::EventTime, DeliveryOrder::NextAttemptAt];
        if self.narrowed && by_event.contains(&order) {
            tries.push((self.of_classes(Run::Class), EVERYTHING));
        }
        for (runs, bounds) in tries {
            // Without the other conditions, so that no more than this many rows are looked at.
            let found = self.merge(&runs, &Conditions::default(), bounds, false, FEW + 1)?;
            if found.len() <= FEW {
                // The one that no run has in its place; the conditions decide on it as on all others.
                let held = self.held.map(|(head, _)| head);
                let mut all: Vec<i64> = found.into_iter().map(|(_, sequence)| sequence).chain(held).collect();
                all.sort_unstable();
                all.dedup();
                return Ok(Some(all));
            }
        }
        Ok(None)
    }

    /// Puts those of a few that meet all conditions in order.
    fn sort(&mut self, sequences: &[i64]) -> Result<Vec<Place>> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let Conditions { state, event } = self.conditions();
        let mut all = vec![
            format!("states.tenant_id = {}", self.tenant),
            format!("states.sequence IN ({})", list(sequences)),
            JOINED.to_owned(),
        ];
        all.extend(state.into_iter().chain(event));
        let statement = format!(
            "SELECT states.sequence, class, processed_at, due_at, created_at, event_type FROM states, notifications WHERE {}",
            all.join(" AND ")
        );
        let facts: Vec<Facts> = diesel::sql_query(statement).load(self.conn)?;
        let DeliveryQuery { from, limit, .. } = self.query;
        let mut places: Vec<Place> = facts.into_iter().map(|facts| self.place(facts)).collect();
        places.retain(|place| from.as_ref().is_none_or(|from| self.compare(place, from).is_gt()));
        places.sort_unstable_by(|one, other| self.compare(one, other));
        places.truncate(*limit);
        Ok(places)
    }

    /// Which of two comes first in the way that is read.
    fn compare(&self, one: &Place, other: &Place) -> Ordering {
        let order = one.compare(other, self.query.descending);
        if self.query.backwards { order.reverse() } else { order }
    }

    fn place(&self, facts: Facts) -> Place {
        let order = self.query.order;
        let (rank, key) = match order {
            DeliveryOrder::EventType => (Rank::Name(facts.event_type), 0),
            DeliveryOrder::EventTime => (Rank::Number(0), facts.created_at),
            DeliveryOrder::NextAttemptAt => {
                let (low, high) = self.put_off;
                let waits = Class(facts.class).push() == PushProgress::Pending;
                let held = self.held.filter(|(head, _)| *head == facts.sequence).map(|(_, until)| until);
                let due = held.or(facts.due_at.filter(|due| waits && low < *due && *due < high));
                due.map_or((Rank::Missing, 0), |due| (Rank::Number(0), due))
            }
            DeliveryOrder::LastProcessedAt => {
                (Class(facts.class).rank(order), facts.processed_at.unwrap_or_default())
            }
            _ => (Class(facts.class).rank(order), 0),
        };
        Place { rank, key, sequence: facts.sequence }
    }

    /// The parts of the list.
    fn groups(&self) -> Vec<Group> {
        let (filter, order, conditions) = (&self.query.filter, self.query.order, self.conditions());
        let group = |rank, runs, bounds| Group { rank, runs, bounds, conditions: conditions.clone() };
        let classes = self.of_classes(Run::Class);
        let is_delivered = |class: &i64| Class(*class).push() == PushProgress::Delivered;
        match order {
            DeliveryOrder::EventType => {
                let names = filter.event_types.iter().flatten();
                names
                    .map(|name| group(Rank::Name(name.clone()), vec![Run::Type(name.clone())], EVERYTHING))
                    .collect()
            }
            DeliveryOrder::EventTime => {
                vec![group(Rank::Number(0), vec![Run::Created], within(filter.event_time, EVERYTHING))]
            }
            DeliveryOrder::NextAttemptAt => {
                let mut groups = vec![group(Rank::Number(0), vec![Run::Due], self.due())];
                if !filter.next_attempt_at.is_set() {
                    let mut rest = group(Rank::Missing, classes, EVERYTHING);
                    rest.conditions.state.push(format!("NOT ({})", self.is_put_off()));
                    let held = self.held.map(|(head, _)| format!("states.sequence <> {head}"));
                    rest.conditions.state.extend(held);
                    groups.push(rest);
                }
                groups
            }
            // What is delivered is most of it: then the type chooses better than the class.
            DeliveryOrder::Id if self.classes.iter().any(is_delivered) && filter.event_types.is_some() => {
                let types = filter.event_types.iter().flatten();
                vec![group(Rank::Number(0), types.cloned().map(Run::Type).collect(), EVERYTHING)]
            }
            _ => {
                let mut groups: Vec<Group> = Vec::new();
                for class in &self.classes {
                    let rank = Class(*class).rank(order);
                    let timed = order == DeliveryOrder::LastProcessedAt && Class(*class).is_processed();
                    let run = if timed { Run::Processed(*class) } else { Run::Class(*class) };
                    match groups.iter_mut().find(|group| group.rank == rank) {
                        Some(group) => group.runs.push(run),
                        None if timed => {
                            groups.push(group(rank, vec![run], within(filter.last_processed_at, EVERYTHING)));
                        }
                        None => groups.push(group(rank, vec![run], EVERYTHING)),
                    }
                }
                groups
            }
        }
    }

    /// Goes through the parts of the list, from where the page begins.
    fn walk(&mut self) -> Result<Vec<Place>> {
        let DeliveryQuery { order, descending, backwards, from, limit, up_to, .. } = self.query;
        let start = |rank: &Rank| Place { rank: rank.clone(), key: 0, sequence: 0 };
        if *order == DeliveryOrder::EventType && self.query.filter.event_types.is_none() {
            return self.by_type();
        }
        let mut groups = self.groups();
        groups.sort_by(|one, other| start(&one.rank).compare(&start(&other.rank), *descending));
        if *backwards {
            groups.reverse();
        }
        let down = descending != backwards;
        let mut places: Vec<Place> = Vec::new();
        for Group { rank, runs, mut bounds, conditions } in groups {
            if *order == DeliveryOrder::Id {
                // The sequence alone orders these runs.
                bounds.1 = bounds.1.min((0, up_to.saturating_add(1)));
            }
            if let Some(from) = from {
                if rank == from.rank {
                    let edge = (from.key, from.sequence);
                    if down { bounds.1 = bounds.1.min(edge) } else { bounds.0 = bounds.0.max(edge) }
                } else if start(&rank).compare(from, *descending).is_lt() != *backwards {
                    continue;
                }
            }
            let left = limit.saturating_sub(places.len());
            if left == 0 {
                break;
            }
            let found = self.merge(&runs, &conditions, bounds, down, left)?;
            let found = found.into_iter();
            places.extend(found.map(|(key, sequence)| Place { rank: rank.clone(), key, sequence }));
        }
        if let Some((head, _)) = self.held.filter(|_| *order == DeliveryOrder::NextAttemptAt) {
            places.extend(self.sort(&[head])?);
            places.sort_unstable_by(|one, other| self.compare(one, other));
            places.truncate(*limit);
        }
        Ok(places)
    }

    /// A page by event type, however many there are.
    fn by_type(&mut self) -> Result<Vec<Place>> {
        let DeliveryQuery { descending, backwards, from, limit, .. } = self.query;
        let from = match from {
            None => None,
            Some(Place { rank: Rank::Name(name), sequence, .. }) => Some((name.as_str(), *sequence)),
            // No event is without a type.
            Some(_) => return Ok(Vec::new()),
        };
        let statement = types(self.tenant, &self.conditions(), from, descending != backwards, *limit);
        let found: Vec<Named> = diesel::sql_query(statement).load(self.conn)?;
        let place = |found: Named| Place { rank: Rank::Name(found.name), key: 0, sequence: found.sequence };
        Ok(found.into_iter().map(place).collect())
    }

    /// The first keys and sequences of several runs together.
    fn merge(
        &mut self,
        runs: &[Run],
        conditions: &Conditions,
        mut bounds: Bounds,
        down: bool,
        limit: usize,
    ) -> Result<Vec<(i64, i64)>> {
        let mut merged: Vec<(i64, i64)> = Vec::new();
        for run in runs {
            if self.until.is_some_and(|until| Instant::now() > until) {
                return Err(StoreError::Unavailable("a list of deliveries took too long".to_owned()));
            }
            let statement = statement(self.tenant, run, conditions, bounds, down, limit);
            let found: Vec<Found> = diesel::sql_query(statement).load(self.conn)?;
            merged.extend(found.iter().map(|found| (found.key, found.sequence)));
            merged.sort_unstable();
            if down {
                merged.reverse();
            }
            merged.truncate(limit);
            // The next run need not read what would not be among the first any more.
            if let Some(last) = merged.last().filter(|_| merged.len() == limit) {
                if down { bounds.0 = *last } else { bounds.1 = *last }
            }
        }
        Ok(merged)
    }
}
