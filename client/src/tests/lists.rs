//! Queries, and the streams that follow their links.

use std::time::{Duration, Instant};

use chrono::DateTime;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::server::{Reply, Server, json};
use super::{notification, sequence, wait_for};
use crate::{Error, NotificationDocument, PushState};

/// A page whose links lead to another host, as they do behind a proxy.
fn page(ids: &[u64], next: Option<&str>) -> Reply {
    let data: Vec<String> = ids.iter().map(|id| notification(*id)).collect();
    let next = next.map(|query| format!("http://elsewhere:1/api/rest/v1.0/notifications?{query}"));
    let after = ids.last().map_or("9".to_owned(), u64::to_string);
    let body = format!(
        r#"{{"links":{{"self":"","first":"","prev":null,"next":{}}},"data":[{}],"included":[
        {{"type":"user","id":"1","attributes":{{"name":"One"}}}},{{"type":"user","id":"2"}}],
        "meta":{{"page":{{"after":"{after}"}}}}}}"#,
        serde_json::to_string(&next).unwrap(),
        data.join(",")
    );
    json(200, "", &body)
}

/// The query of a request, decoded.
fn query(line: &str) -> String {
    let target = line.split(' ').nth(1).unwrap();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[test]
fn a_query_is_written_as_the_contract_says() {
    let server = Server::start([page(&[], None), page(&[], None)]);
    let client = server.client().build().unwrap();
    let time = DateTime::from_timestamp_millis(1_702_500_170_427).unwrap();
    let asked = client
        .notifications()
        .dismissed(true)
        .any_dismissed()
        .read(false)
        .flagged(true)
        .types(["close", "my.own"])
        .entities(["experiment:1"])
        .created_by(["100"])
        .push_states([PushState::Pending, PushState::None])
        .created_from(time)
        .created_before(time)
        .newest_first()
        .page_size(7)
        .after(sequence(3))
        .wait(Duration::from_secs(30));
    wait_for(asked.page()).unwrap();
    wait_for(client.notifications().page()).unwrap();
    let seen = server.seen();
    let expected = "filter[isDismissed]=true,false&filter[isRead]=false&filter[isFlagged]=true\
        &filter[type]=close,my.own&filter[entity]=experiment:1&filter[createdBy]=100&filter[push]=pending,none\
        &filter[createdAt][ge]=2023-12-13T20:42:50.427Z&filter[createdAt][lt]=2023-12-13T20:42:50.427Z\
        &sort=-sequence&page[size]=7&page[after]=3";
    assert_eq!(query(&seen[0].line), expected);
    assert_eq!(seen[0].header("prefer"), Some("wait=30"));
    assert_eq!(seen[1].line, "GET /api/rest/v1.0/notifications HTTP/1.1");
    assert_eq!(seen[1].header("prefer"), None);
}

#[test]
fn a_value_that_would_become_two_is_refused() {
    let server = Server::start([]);
    let asked = server.client().build().unwrap().notifications().entities(["a,b"]);
    assert!(matches!(wait_for(asked.clone().page()), Err(Error::Invalid(_))));
    assert!(matches!(wait_for(asked.items().next()), Some(Err(Error::Invalid(_)))));
    assert!(server.seen().is_empty());
}

#[test]
fn a_stream_follows_the_links_at_its_own_address_and_past_an_empty_page() {
    let server = Server::start([
        page(&[1, 2], Some("page%5Bafter%5D=2&x=a+b")),
        page(&[], Some("page%5Bafter%5D=5")),
        page(&[6], None),
    ]);
    let client = server.client().build().unwrap();
    let items: Vec<NotificationDocument> =
        wait_for(client.notifications().any_dismissed().items().try_collect()).unwrap();
    assert_eq!(items.iter().map(|item| item.data.id.get()).collect::<Vec<_>>(), [1, 2, 6]);
    let queries: Vec<_> = server.seen().iter().map(|seen| query(&seen.line)).collect();
    let expected = ["filter[isDismissed]=true,false&sort=sequence", "page[after]=2&x=a b", "page[after]=5"];
    assert_eq!(queries, expected);
}

#[test]
fn each_item_has_the_resources_that_it_names() {
    let server = Server::start([page(&[2, 3, 1], None)]);
    let items: Vec<NotificationDocument> =
        wait_for(server.client().build().unwrap().notifications().items().try_collect()).unwrap();
    let included = |item: &NotificationDocument| {
        item.included.iter().map(|resource| resource.identifier.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        items.iter().map(included).collect::<Vec<_>>(),
        [vec!["2".to_owned()], vec![], vec!["1".to_owned()]]
    );
    assert!(items[2].included[0].get().contains("One"));
}

#[test]
fn a_stream_ends_at_a_repeated_cursor() {
    let server = Server::start([
        page(&[1], Some("page%5Bafter%5D=1")),
        page(&[2], Some("page%5bafter%5d=1&sort=sequence")),
    ]);
    let pages = wait_for(server.client().build().unwrap().notifications().pages().count());
    assert_eq!(pages, 2);
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_stream_ends_after_an_error() {
    let server =
        Server::start([page(&[1], Some("page%5Bafter%5D=1")), json(403, "", "{}"), page(&[2], None)]);
    let items: Vec<_> = wait_for(server.client().build().unwrap().notifications().items().collect());
    assert!(matches!(items[..], [Ok(_), Err(Error::Api { status: 403, .. })]), "{items:?}");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_stream_that_waits_goes_on_after_the_end() {
    let server = Server::start([page(&[1], None), page(&[], None), page(&[10], None)]);
    let client = server.client().build().unwrap();
    let waiting = client.notifications().types(["close"]).wait(Duration::from_secs(20)).items();
    let begun = Instant::now();
    let items: Vec<_> = wait_for(waiting.take(2).try_collect()).unwrap();
    assert_eq!(
        items.iter().map(|item: &NotificationDocument| item.data.id.get()).collect::<Vec<_>>(),
        [1, 10]
    );
    let seen = server.seen();
    let queries: Vec<_> = seen.iter().map(|seen| query(&seen.line)).collect();
    let asked = "filter[type]=close&sort=sequence";
    assert_eq!(
        queries,
        [asked.to_owned(), format!("{asked}&page[after]=1"), format!("{asked}&page[after]=9")]
    );
    assert!(seen.iter().all(|seen| seen.header("prefer") == Some("wait=20")));
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "a server that does not wait is not asked without a pause"
    );
}

#[test]
fn whoever_does_not_wait_is_not_a_busy_loop() {
    let server = Server::start([page(&[], None), page(&[], None)]);
    let client = server.client().build().unwrap();
    let pages = client.notifications().wait(Duration::ZERO).pages();
    assert_eq!(wait_for(pages.take(2).try_collect::<Vec<_>>()).unwrap().len(), 2);
    let seen = server.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1), "{:?}", seen[1].at - seen[0].at);
}

#[test]
fn whoever_follows_goes_on_after_an_error_that_may_pass_and_ends_after_another() {
    let server = Server::start([
        page(&[1], None),
        json(503, "", "{}"),
        Reply::Close(String::new()),
        page(&[3], None),
        json(403, "", "{}"),
        page(&[4], None),
    ]);
    let client = server.client().retries(0).build().unwrap();
    let query = client.notifications().newest_first().types(["close"]).page_size(5);
    let got: Vec<_> = wait_for(query.follow().collect());
    let ids: Vec<_> = got.iter().map(|got| got.as_ref().ok().map(|item| item.data.id.get())).collect();
    assert_eq!(ids, [Some(1), None, None, Some(3), None]);
    assert!(matches!(got[4], Err(Error::Api { status: 403, .. })), "{got:?}");

    let seen = server.seen();
    let queries: Vec<_> = seen.iter().map(|seen| self::query(&seen.line)).collect();
    let asked = "filter[type]=close&page[size]=5&sort=sequence";
    let behind = |id: u64| format!("{asked}&page[after]={id}");
    assert_eq!(queries, [asked.to_owned(), behind(1), behind(1), behind(1), behind(3)]);
    assert!(seen.iter().all(|seen| seen.header("prefer") == Some("wait=30")));
    // One second after the first failure, two after the next.
    assert!(seen[2].at - seen[1].at >= Duration::from_secs(1));
    assert!(seen[3].at - seen[2].at >= Duration::from_secs(2));
}

#[test]
fn a_query_that_can_not_be_asked_is_an_error_of_the_stream() {
    let server = Server::start([]);
    let asked = server.client().build().unwrap().notifications().types(["a,b"]);
    let got: Vec<_> = wait_for(asked.follow().collect());
    assert!(matches!(got[..], [Err(Error::Invalid(_))]), "{got:?}");
    assert!(server.seen().is_empty());
}

#[test]
fn the_deadline_allows_for_the_wait() {
    let server = Server::start([Reply::Drip("HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n".into())]);
    let client = server.client().timeout(Duration::from_millis(100)).build().unwrap();
    let error = wait_for(client.notifications().after(1).wait(Duration::from_secs(1)).page()).unwrap_err();
    assert!(matches!(error, Error::Timeout(after) if after == Duration::from_millis(1_100)), "{error:?}");
}

#[cfg(feature = "inbox")]
#[test]
fn what_a_newer_server_says_of_its_store_does_not_stop_the_record() {
    let meta =
        r#","meta":{"receivedAt":"2023-12-13T20:42:50.427Z","push":{"state":"superseded","attempts":0}}}"#;
    let entry = notification(7);
    let body = format!(
        r#"{{"links":{{"self":"http://elsewhere/","first":"http://elsewhere/"}},"data":[{}{meta}],"meta":{{"page":{{"after":"7"}}}}}}"#,
        entry.strip_suffix('}').unwrap()
    );
    let server = Server::start([json(200, "", &body), json(200, "", &body)]);
    let client = server.client().build().unwrap();
    assert!(matches!(wait_for(client.notifications().page()), Err(Error::Decode(_))));
    let (page, _) = wait_for(client.notifications().record_of_tenant()).unwrap();
    assert_eq!(page.data[0].id, sequence(7));
    assert_eq!(page.data[0].attributes.r#type.as_str(), "close");
    assert_eq!(page.data[0].relationships.created_by.as_ref().unwrap().data.id, "7");
    assert_eq!(page.meta.unwrap().page.unwrap().after, "7");
}
