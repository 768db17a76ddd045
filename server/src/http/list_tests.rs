//! Query strings, good and bad, and the links of the pages that they lead to.

use std::sync::Arc;

use tidings_api::error::ErrorSource;

use super::*;
use crate::rules::document::Related;
use crate::rules::notification::{Content, State};

fn parse(query: &str) -> List {
    List::parse(query, true, false).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn notification(sequence: i64) -> StoredNotification {
    StoredNotification {
        sequence,
        content: Arc::new(Content {
            event_type: "close".into(),
            created_at: 1_000_000 + sequence,
            received_at: 0,
            comment: None,
            extra: String::new(),
            entity: None,
            created_by: None,
            included: String::new(),
        }),
        state: State::new(PushProgress::None, None),
    }
}

fn page(sequences: &[i64]) -> Vec<StoredNotification> {
    sequences.iter().map(|sequence| notification(*sequence)).collect()
}

#[test]
fn without_parameters_the_newest_hundred_that_are_not_dismissed() {
    let list = parse("");
    let filter = Filter { is_dismissed: Some(false), ..Filter::default() };
    assert_eq!(list.query.filter, filter);
    assert_eq!((list.query.seek, list.query.ascending), (Seek::Sequence(None), false));
    assert_eq!((list.query.limit, list.query.offset), (101, 0));
    assert_eq!(list.shape, Shape::default());
}

#[test]
fn each_filter_reaches_the_store() {
    let list = parse(
        "filter[isDismissed]=true&filter%5BisRead%5D=false&filter[isFlagged]=true,false&filter[type]=close,my.type\
         &filter[entity]=a:1,b&filter[createdBy]=100&filter[push]=failed,pending\
         &filter[createdAt][ge]=1970-01-01T00:00:01Z&filter[createdAt][lt]=1970-01-01T01:00:02+01:00",
    );
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let expected = Filter {
        is_dismissed: Some(true),
        is_read: Some(false),
        is_flagged: None,
        types: texts(&["close", "my.type"]),
        entities: texts(&["a:1", "b"]),
        created_by: texts(&["100"]),
        push: Some(vec![PushProgress::Failed, PushProgress::Pending]),
        created_from: Some(1_000_000),
        created_before: Some(2_000_000),
    };
    assert_eq!(list.query.filter, expected);
}

#[test]
fn what_waits_is_paused_while_push_is() {
    let push = |query: &str, active| List::parse(query, active, false).unwrap().query.filter.push;
    assert_eq!(push("filter[push]=pending", true), Some(vec![PushProgress::Pending]));
    assert_eq!(push("filter[push]=paused", true), Some(vec![]));
    assert_eq!(push("filter[push]=pending", false), Some(vec![]));
    assert_eq!(push("filter[push]=paused", false), Some(vec![PushProgress::Pending]));
}

#[test]
fn signals_names_mean_the_same() {
    for (status, expected) in [
        ("dismissed", Some(true)),
        ("notdismissed", Some(false)),
        ("dismissed, notdismissed", None),
        ("", Some(false)),
    ] {
        assert_eq!(parse(&format!("status={status}")).query.filter.is_dismissed, expected, "{status}");
    }
    let list = parse("from=1970-01-01T00:00:01Z&to=&page[limit]=5&page[offset]=10");
    assert_eq!((list.query.filter.created_from, list.query.filter.created_before), (Some(1_000_000), None));
    assert_eq!((list.query.limit, list.query.offset, &list.paging), (6, 10, &Paging::Offset));
    assert_eq!(parse("status=dismissed").query.limit, 21);
    assert_eq!(parse("status=dismissed&page[size]=7").paging, Paging::After(None));
}

#[test]
fn cursors_lead_to_their_place() {
    for (query, seek, ascending) in [
        ("sort=sequence&page[after]=519", Seek::Sequence(Some(519)), true),
        ("sort=sequence&page[after]=0", Seek::Sequence(None), true),
        ("page[after]=519", Seek::Sequence(Some(519)), false),
        ("page[after]=0", Seek::Sequence(None), false),
        ("sort=sequence&page[before]=519", Seek::Sequence(Some(519)), false),
        ("page[before]=519", Seek::Sequence(Some(519)), true),
        (
            "sort=createdAt&page[after]=1702500170427000_519",
            Seek::CreatedAt(Some((1_702_500_170_427_000, 519))),
            true,
        ),
        ("sort=createdAt&page[after]=0", Seek::CreatedAt(None), true),
        ("sort=-createdAt&page[before]=7_1", Seek::CreatedAt(Some((7, 1))), true),
    ] {
        let list = parse(query);
        assert_eq!((list.query.seek, list.query.ascending), (seek, ascending), "{query}");
    }
    assert_eq!(parse("sort=sequence&page[after]=5").cursor(), Some(5));
    for query in ["sort=sequence&page[after]=0", "page[after]=5", "sort=createdAt&page[after]=1_5"] {
        assert_eq!(parse(query).cursor(), None, "{query}");
    }
    assert!(parse("sort=sequence&page[after]=0").can_wait());
    for query in
        ["sort=sequence", "page[after]=0", "sort=sequence&page[before]=5", "sort=createdAt&page[after]=0"]
    {
        assert!(!parse(query).can_wait(), "{query}");
    }
}

#[test]
fn what_can_not_be_used_is_named() {
    for (query, parameter) in [
        ("foo=1", "foo"),
        ("filter[foo]=1", "filter[foo]"),
        ("page[size]=0", "page[size]"),
        ("page[size]=1001", "page[size]"),
        ("page[size]=ten", "page[size]"),
        ("page[limit]=0", "page[limit]"),
        ("page[limit]=101", "page[limit]"),
        ("page[offset]=5001", "page[offset]"),
        ("page[offset]=-1", "page[offset]"),
        ("page[limit]=1&page[size]=1", "page[limit]"),
        ("page[offset]=1&page[after]=1", "page[offset]"),
        ("page[after]=1&page[before]=2", "page[before]"),
        ("page[after]=x", "page[after]"),
        ("page[after]=01", "page[after]"),
        ("page[after]=-1", "page[after]"),
        ("page[after]=1000000000000000000000000000000", "page[after]"),
        ("page[after]=1_2", "page[after]"),
        ("sort=createdAt&page[after]=5", "page[after]"),
        ("sort=createdAt&page[after]=5_", "page[after]"),
        ("sort=createdAt&page[after]=5_6_7", "page[after]"),
        ("page[before]=", "page[before]"),
        ("sort=id", "sort"),
        ("sort=", "sort"),
        ("sort=sequence&sort=sequence", "sort"),
        ("filter[isRead]=yes", "filter[isRead]"),
        ("filter[isRead]=", "filter[isRead]"),
        ("filter[isDismissed]=TRUE", "filter[isDismissed]"),
        ("filter[type]=a%20b", "filter[type]"),
        ("filter[type]=", "filter[type]"),
        ("filter[entity]=%00", "filter[entity]"),
        ("filter[push]=sent", "filter[push]"),
        ("filter[createdAt][ge]=yesterday", "filter[createdAt][ge]"),
        ("filter[createdAt][gt]=2020-01-01T00:00:00Z", "filter[createdAt][gt]"),
        ("from=2020", "from"),
        ("from=2020-01-01T00:00:00Z&filter[createdAt][ge]=2020-01-01T00:00:00Z", "from"),
        ("status=all", "status"),
        ("status=dismissed&filter[isDismissed]=true", "status"),
        ("include=owner", "include"),
        ("fields[notification]=colour", "fields[notification]"),
        ("fields[tenant]=name", "fields[tenant]"),
    ] {
        let error = List::parse(query, true, false).unwrap_err();
        assert_eq!(error.object().status, "400", "{query}");
        assert_eq!(error.object().source, Some(ErrorSource::Parameter(parameter.into())), "{query}");
    }
}

#[test]
fn shapes_are_read() {
    let shape =
        parse("include=&fields[notification]=comment,entity&fields[user]=&fields[entity]=eid,any").shape;
    assert_eq!(shape.include, Some(vec![]));
    assert_eq!(shape.notification.unwrap(), ["comment", "entity"]);
    assert_eq!(shape.user, Some(vec![]));
    assert_eq!(shape.entity.unwrap(), ["eid", "any"]);
    assert_eq!(
        parse("include=entity,createdBy").shape.include,
        Some(vec![Related::Entity, Related::CreatedBy])
    );
}

#[test]
fn links_lead_on_and_back_with_all_parameters() {
    let query = "sort=sequence&page[size]=2&filter[entity]=a%26b&page[after]=5";
    let list = parse(query);
    let mut found = page(&[6, 7, 8]);
    assert!(list.arrange(&mut found));
    assert!(list.probe(&found).is_none());
    let frame = list.frame("u", query, &found, true, false);
    let carried = "u?sort=sequence&page%5Bsize%5D=2&filter%5Bentity%5D=a%26b";
    assert_eq!(frame.this, format!("u?{query}"));
    assert_eq!(frame.first, carried);
    assert_eq!(frame.prev.as_deref(), Some(&*format!("{carried}&page%5Bbefore%5D=6")));
    assert_eq!(frame.next.as_deref(), Some(&*format!("{carried}&page%5Bafter%5D=7")));
    assert_eq!(frame.after.as_deref(), Some("7"));
    let back = parse(frame.prev.as_deref().unwrap().split_once('?').unwrap().1);
    let mut found = page(&[5, 4, 3]);
    assert!(back.arrange(&mut found));
    assert_eq!(found, page(&[4, 5]), "a page read backwards stands in the order of the list");
    assert_eq!(back.probe(&found).unwrap().seek, Seek::Sequence(Some(5)));
    let frame = back.frame("u", "", &found, true, true);
    assert!(frame.prev.unwrap().ends_with("&page%5Bbefore%5D=4"));
    assert!(frame.next.unwrap().ends_with("&page%5Bafter%5D=5"));
}

#[test]
fn ends_have_no_links_and_keep_their_cursor() {
    let frame = parse("").frame("u", "", &[], false, false);
    assert_eq!((frame.prev, frame.next, frame.after.as_deref()), (None, None, Some("0")));
    let frame = parse("page[after]=0").frame("u", "", &page(&[9, 8]), false, false);
    assert_eq!((frame.prev, frame.next, frame.after.as_deref()), (None, None, Some("8")));
    for (query, before) in [("sort=sequence&page[after]=9", "10"), ("page[after]=9", "8")] {
        let frame = parse(query).frame("u", "", &[], false, false);
        assert_eq!(frame.after.as_deref(), Some("9"), "{query}");
        assert!(frame.prev.unwrap().ends_with(&format!("page%5Bbefore%5D={before}")), "{query}");
    }
    let frame = parse("sort=createdAt").frame("u", "", &page(&[1, 2]), true, false);
    assert!(frame.next.unwrap().ends_with("page%5Bafter%5D=1000002_2"));
}

#[test]
fn offset_links_count() {
    let list = parse("page[limit]=10&page[offset]=15&status=dismissed");
    let frame = list.frame("u", "", &page(&[1; 10]), true, false);
    let to = |offset: i64| format!("u?page%5Blimit%5D=10&status=dismissed&page%5Boffset%5D={offset}");
    assert_eq!((frame.first, frame.prev, frame.next, frame.after), (to(0), Some(to(5)), Some(to(25)), None));
    let last = parse("page[limit]=100&page[offset]=4950").frame("u", "", &page(&[1]), true, false);
    assert!(last.next.is_some(), "a page that was cut short goes on where it ends");
    let last = parse("page[limit]=100&page[offset]=4950").frame("u", "", &page(&[1; 100]), true, false);
    assert_eq!(last.next, None, "no link leads beyond the largest offset");
}
