use serde_json::{Value, json};
use tidings_api::event::ChangeType;

use super::*;
use crate::rules::settings::resolve;

fn settings(selection: Value) -> Settings {
    let stored = json!({"selection": selection}).to_string();
    resolve(&stored, "tenant").unwrap()
}

/// An event of which nothing but the type is known.
fn event(event_type: &EventType) -> EventView<'_> {
    EventView {
        event_type,
        created_at: 0,
        comment: None,
        data: None,
        change: None,
        originator: None,
        unit: None,
        entity: None,
        created_by: None,
    }
}

fn selected(settings: &Settings, event_type: &str, unit: Option<&str>) -> Result<(), NotStoredReason> {
    let event_type = event_type.parse().unwrap();
    select(settings, &EventView { unit, ..event(&event_type) })
}

#[test]
fn types_and_groups_select() {
    let all = settings(json!({}));
    assert_eq!(selected(&all, "close", None), Ok(()));
    assert_eq!(selected(&Settings { enabled: false, ..all }, "close", None), Err(NotStoredReason::Disabled));
    let signing = settings(json!({"types": ["allSigningEvents", "my.type"]}));
    assert_eq!(selected(&signing, "close", None), Ok(()));
    assert_eq!(selected(&signing, "my.type", None), Ok(()));
    assert_eq!(selected(&signing, "print", None), Err(NotStoredReason::TypeNotSelected));
    assert_eq!(
        selected(&settings(json!({"types": []})), "close", None),
        Err(NotStoredReason::TypeNotSelected)
    );
}

#[test]
fn a_unit_s_switch_decides_instead_of_the_types() {
    let settings = settings(json!({"types": ["print", "close"], "units": {
        "north": {"close": false, "allSigningEvents": true, "*": false},
        "south": {"allExportToPdfZipEvents": false, "my.type": true},
        "empty": {},
        "all": {"*": true}
    }}));
    let (on, off) = (Ok(()), Err(NotStoredReason::SwitchedOffForUnit));
    let by_types = Err(NotStoredReason::TypeNotSelected);
    for (unit, event_type, expected) in [
        (Some("north"), "close", off),  // its type, before its group
        (Some("north"), "sign", on),    // its group, before all
        (Some("north"), "create", off), // all
        (Some("north"), "print", off),  // selected by the types, but the switch decides
        (Some("south"), "print", off),
        (Some("south"), "my.type", on), // not selected by the types
        (Some("south"), "close", on),   // no switch: the types
        (Some("south"), "sign", by_types),
        (Some("empty"), "close", on),
        (Some("all"), "anything", on),
        (Some("elsewhere"), "sign", by_types),
        (None, "close", on),
        (None, "sign", by_types),
    ] {
        assert_eq!(selected(&settings, event_type, unit), expected, "{unit:?} {event_type}");
    }
}

/// Who takes part in an agreement of Acrobat Sign.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Party {
    Sender,
    Signer,
    Recipient,
}

/// Acrobat Sign's delivery matrix: whose webhook is notified of an agreement that the sender has sent. An event belongs to
/// the sender alone, so the answers follow from the scope of the webhook's owner.
#[test]
fn the_scopes_are_acrobat_sign_s_matrix() {
    use Party::{Recipient, Sender, Signer};
    const YES: bool = true;
    const NO: bool = false;
    let matrix = [
        // Whose webhook; its scope; in the sender's account; in the sender's group; notified.
        // Different accounts: the sender's ACCOUNT, GROUP, USER and RESOURCE webhooks = yes.
        (Sender, "account", false, false, YES),
        (Sender, "group", false, false, YES),
        (Sender, "user", false, false, YES),
        (Sender, "resource", false, false, YES),
        // The signer's ACCOUNT, GROUP and USER = no ("signer webhook").
        (Signer, "account", false, false, NO),
        (Signer, "group", false, false, NO),
        (Signer, "user", false, false, NO),
        // The recipient's ACCOUNT, GROUP and USER = no ("webhook without originator").
        (Recipient, "account", false, false, NO),
        (Recipient, "group", false, false, NO),
        (Recipient, "user", false, false, NO),
        // Same account: the sender's = yes, in whichever group the others are.
        (Sender, "account", true, true, YES),
        (Sender, "group", true, true, YES),
        (Sender, "user", true, true, YES),
        (Sender, "resource", true, true, YES),
        (Sender, "account", true, false, YES),
        (Sender, "group", true, false, YES),
        (Sender, "user", true, false, YES),
        (Sender, "resource", true, false, YES),
        // The signer's ACCOUNT = yes; GROUP = yes if it is the sender's group, no if it is another; USER = no.
        (Signer, "account", true, true, YES),
        (Signer, "account", true, false, YES),
        (Signer, "group", true, true, YES),
        (Signer, "group", true, false, NO),
        (Signer, "user", true, true, NO),
        (Signer, "user", true, false, NO),
        // The recipient's likewise.
        (Recipient, "account", true, true, YES),
        (Recipient, "account", true, false, YES),
        (Recipient, "group", true, true, YES),
        (Recipient, "group", true, false, NO),
        (Recipient, "user", true, true, NO),
        (Recipient, "user", true, false, NO),
    ];
    let sender = Originator {
        account_id: Some("acme".into()),
        group_id: Some("sales".into()),
        user_id: Some("ann".into()),
    };
    let event_type: EventType = "AGREEMENT_WORKFLOW_COMPLETED".parse().unwrap();
    let agreement =
        EventView { originator: Some(&sender), entity: Some("agreement:1"), ..event(&event_type) };
    for (owner, scope, same_account, same_group, expected) in matrix {
        let (user, at_home) = match owner {
            Sender => ("ann", true),
            Signer => ("ben", same_account),
            Recipient => ("cid", same_account),
        };
        let account = if at_home { "acme" } else { "other" };
        // Groups of different accounts may well have the same name.
        let group = if owner == Sender || same_group || !at_home { "sales" } else { "support" };
        let scope = match scope {
            "account" => json!({"kind": "account", "accountId": account}),
            "group" => json!({"kind": "group", "accountId": account, "groupId": group}),
            "user" => json!({"kind": "user", "accountId": account, "userId": user}),
            _ => json!({"kind": "resource", "resourceId": "agreement:1"}),
        };
        let expected = if expected { Ok(()) } else { Err(NotStoredReason::OutOfScope) };
        let settings = settings(json!({"scope": scope}));
        assert_eq!(select(&settings, &agreement), expected, "{owner:?} {scope} {same_account} {same_group}");
    }
}

#[test]
fn what_has_no_originator_belongs_to_nobody() {
    let event_type: EventType = "close".parse().unwrap();
    let outside = Err(NotStoredReason::OutOfScope);
    let nobody = Originator::default();
    for (scope, expected) in [
        (json!({"kind": "all"}), Ok(())),
        (json!({"kind": "resource", "resourceId": "e:1"}), Ok(())),
        (json!({"kind": "resource", "resourceId": "e:2"}), outside),
        (json!({"kind": "account", "accountId": "a"}), outside),
        (json!({"kind": "group", "groupId": "g"}), outside),
        (json!({"kind": "user", "userId": "u"}), outside),
    ] {
        let settings = settings(json!({"scope": scope}));
        let event = EventView { entity: Some("e:1"), ..event(&event_type) };
        assert_eq!(select(&settings, &event), expected, "{scope}");
        assert_eq!(select(&settings, &EventView { originator: Some(&nobody), ..event }), expected, "{scope}");
    }
    let resource = settings(json!({"scope": {"kind": "resource", "resourceId": "e:1"}}));
    assert_eq!(select(&resource, &event(&event_type)), outside, "it is about no entity");
    // Without an account, groups and users of every account.
    let group = settings(json!({"scope": {"kind": "group", "groupId": "g"}}));
    for account_id in [None, Some("a".to_owned()), Some("b".to_owned())] {
        let originator = Originator { account_id, group_id: Some("g".into()), user_id: None };
        assert_eq!(
            select(&group, &EventView { originator: Some(&originator), ..event(&event_type) }),
            Ok(())
        );
    }
}

#[test]
fn only_changes_of_the_columns_are_selected() {
    let event_type: EventType = "change".parse().unwrap();
    let settings = settings(json!({"columns": ["status", "orders.total", "a.b.c"]}));
    let no = Err(NotStoredReason::ColumnsNotChanged);
    for (table, columns, expected) in [
        ("orders", &["status"][..], Ok(())),
        ("lines", &["status"], Ok(())),
        ("orders", &["total"], Ok(())),
        ("lines", &["total"], no),
        ("orders", &["price", "total"], Ok(())),
        ("orders", &["price", "Status", "statu"], no),
        ("orders", &[], Ok(())),
        ("a.b", &["c"], Ok(())),
        ("a", &["b.c"], Ok(())),
        ("a", &["c"], no),
    ] {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let change = Change { table: table.into(), r#type: ChangeType::Update, columns, record_id: None };
        let event = EventView { change: Some(&change), ..event(&event_type) };
        assert_eq!(select(&settings, &event), expected, "{change:?}");
    }
    assert_eq!(select(&settings, &event(&event_type)), Ok(()), "an event without a change");
}
