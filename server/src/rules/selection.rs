//! Which events a tenant wants stored and pushed.

use tidings_api::event::{Change, NotStoredReason, Originator};
use tidings_api::event_type::{EventType, TypeSelector};
use tidings_api::settings::{Scope, Selection, Settings};

use super::notification::Micros;

/// What the rules see of an event.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// Its type.
    pub event_type: &'a EventType,
    /// When it happened.
    pub created_at: Micros,
    /// The comment.
    pub comment: Option<&'a str>,
    /// Its own fields: a JSON object, as it was posted.
    pub data: Option<&'a str>,
    /// The change that caused it.
    pub change: Option<&'a Change>,
    /// On whose behalf it happened.
    pub originator: Option<&'a Originator>,
    /// The unit where it happened.
    pub unit: Option<&'a str>,
    /// The id of the entity that it is about.
    pub entity: Option<&'a str>,
    /// The id of the user who caused it.
    pub created_by: Option<&'a str>,
}

/// Whether an event is stored, by all rules but the condition; if not, why.
///
/// # Errors
/// The first setting that excludes it.
pub fn select(settings: &Settings, event: &EventView<'_>) -> Result<(), NotStoredReason> {
    let selection = &settings.selection;
    if !settings.enabled {
        return Err(NotStoredReason::Disabled);
    }
    match unit_switch(selection, event) {
        Some(true) => {}
        Some(false) => return Err(NotStoredReason::SwitchedOffForUnit),
        None if selection.types.iter().any(|selector| selector.selects(event.event_type)) => {}
        None => return Err(NotStoredReason::TypeNotSelected),
    }
    if !in_scope(&selection.scope, event) {
        return Err(NotStoredReason::OutOfScope);
    }
    if !columns_changed(&selection.columns, event.change) {
        return Err(NotStoredReason::ColumnsNotChanged);
    }
    Ok(())
}

/// The switch that the event's unit has for it: that of its type, else of its group, else of all types.
fn unit_switch(selection: &Selection, event: &EventView<'_>) -> Option<bool> {
    let switches = selection.units.get(event.unit?)?;
    let groups = [
        TypeSelector::AllSigningEvents,
        TypeSelector::AllExportToPdfZipEvents,
        TypeSelector::TopLevelEntityCreation,
        TypeSelector::All,
    ];
    let groups = groups.iter().filter(|group| group.selects(event.event_type)).map(TypeSelector::as_str);
    std::iter::once(event.event_type.as_str()).chain(groups).find_map(|name| switches.get(name).copied())
}

/// Whether the event is one of those whom the tenant asks about. It belongs to its originator alone.
fn in_scope(scope: &Scope, event: &EventView<'_>) -> bool {
    let is = |named: &Option<String>, wanted: &String| named.as_ref() == Some(wanted);
    let of_account = |originator: &Originator, account: &Option<String>| {
        account.as_ref().is_none_or(|account| is(&originator.account_id, account))
    };
    match (scope, event.originator) {
        (Scope::All, _) => true,
        (Scope::Resource { resource_id }, _) => event.entity == Some(resource_id.as_str()),
        (_, None) => false,
        (Scope::Account { account_id }, Some(originator)) => is(&originator.account_id, account_id),
        (Scope::Group { account_id, group_id }, Some(originator)) => {
            of_account(originator, account_id) && is(&originator.group_id, group_id)
        }
        (Scope::User { account_id, user_id }, Some(originator)) => {
            of_account(originator, account_id) && is(&originator.user_id, user_id)
        }
    }
}

/// Whether one of the columns has changed, or nothing is said of columns.
fn columns_changed(wanted: &[String], change: Option<&Change>) -> bool {
    let Some(change) = change.filter(|change| !change.columns.is_empty() && !wanted.is_empty()) else {
        return true;
    };
    let is = |wanted: &str, column: &str| {
        wanted == column
            || wanted
                .strip_prefix(change.table.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|rest| rest == column)
    };
    wanted.iter().any(|wanted| change.columns.iter().any(|column| is(wanted, column)))
}

#[cfg(test)]
mod tests;
