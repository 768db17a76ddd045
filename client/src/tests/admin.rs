//! What admins do: jobs, the push queue, tests.

use chrono::DateTime;
use futures_util::TryStreamExt as _;
use serde_json::{Value, json as value};
use uuid::Uuid;

use super::server::{Reply, Seen, Server, json};
use super::{notification, sequence, wait_for};
use crate::api::delivery::{AttemptError, AttemptReason, DeliveryStatus};
use crate::api::job::JobState;
use crate::{Deliveries, DeliveryColumn, Error, Flags, NewJob, Query, Targets};

const JOB: &str = "9c0d6d0e-2f0b-4b5e-9a55-3f6d3ad0a6a7";

fn job_resource(state: &str) -> Value {
    value!({"type": "job", "id": JOB, "links": {"self": "s"}, "attributes": {"action": "repush", "state": state,
        "dryRun": false, "total": 3, "processed": 2, "failed": 1, "createdAt": "2026-01-01T00:00:00.000Z",
        "startedAt": "2026-01-01T00:00:01.000Z", "endedAt": null}})
}

fn job(status: u16) -> Reply {
    json(status, "", &value!({"links": {"self": "s"}, "data": job_resource("running")}).to_string())
}

fn attempt() -> Value {
    value!({"type": "attempt", "id": "7-1", "attributes": {"startedAt": "2026-01-01T00:00:00.000Z", "durationMs": 12,
        "url": "https://a/", "address": "192.0.2.1:443", "reason": "first", "responseStatus": 500,
        "responseText": "no", "error": "status"}})
}

fn delivery(id: u64) -> Value {
    value!({"type": "delivery", "id": id.to_string(), "links": {"self": "s"}, "attributes": {"endpointType": "http",
        "eventType": "close", "eventTime": "2026-01-01T00:00:00.000Z", "lastProcessedAt": null, "status": "error",
        "retries": 2, "errorMessage": "timeout", "responseStatus": null, "nextAttemptAt": null,
        "synchronized": false, "counter": 3, "active": false, "createdBy": null, "table": null, "changeType": null,
        "recordId": null}})
}

/// The query of a request, decoded.
fn query(seen: &Seen) -> String {
    let target = seen.line.split(' ').nth(1).unwrap();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[test]
fn a_job_is_sent_as_the_contract_says() {
    let server = Server::start((0..5).map(|_| job(202)));
    let client = server.client().build().unwrap();
    let up_to = sequence(519);
    let failed = client.notifications().types(["close", "sign"]).newest_first().page_size(7);
    let timed_out = client.deliveries().errors([AttemptError::Timeout]).sort(DeliveryColumn::Status);
    let read = Flags { is_read: Some(true), ..Flags::default() };
    let jobs = [
        NewJob::repush(Targets::ids([sequence(3), sequence(4)])),
        NewJob::repush(Targets::matching(&failed, up_to).unwrap()).dry_run(true),
        NewJob::update(read, Targets::matching(&failed.clone().any_dismissed(), up_to).unwrap()),
        NewJob::repush(Targets::deliveries(&timed_out, up_to).unwrap()),
        NewJob::repush(Targets::all(up_to)),
    ];
    for new in jobs {
        let created = wait_for(client.create_job(new)).unwrap();
        assert_eq!(created.data.id, JOB.parse::<Uuid>().unwrap());
        assert_eq!(created.data.attributes.state, JobState::Running);
    }

    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.line == "POST /api/rest/v1.0/jobs HTTP/1.1"));
    assert_eq!(seen[0].header("content-type"), Some("application/vnd.api+json"));
    let attributes = [
        value!({"action": "repush", "ids": ["3", "4"], "all": false, "dryRun": false}),
        // What a list shows without being told is what a job does.
        value!({"action": "repush", "filter": {"filter[isDismissed]": "false", "filter[type]": "close,sign"},
            "upTo": "519", "all": false, "dryRun": true}),
        value!({"action": "update", "set": {"isRead": true}, "upTo": "519", "all": false, "dryRun": false,
            "filter": {"filter[isDismissed]": "true,false", "filter[type]": "close,sign"}}),
        value!({"action": "repush", "filter": {"filter[errorMessage]": "timeout"}, "upTo": "519", "all": false,
            "dryRun": false}),
        value!({"action": "repush", "filter": {}, "upTo": "519", "all": true, "dryRun": false}),
    ];
    for (seen, attributes) in seen.iter().zip(attributes) {
        assert_eq!(seen.json(), value!({"data": {"type": "job", "attributes": attributes}}));
    }
}

#[test]
fn a_job_is_never_wider_than_its_query() {
    let server = Server::start([job(202)]);
    let client = server.client().build().unwrap();
    let refused =
        |targets: Result<Targets, Error>| assert!(matches!(targets, Err(Error::Invalid(_))), "{targets:?}");
    refused(Targets::matching(&client.notifications().after(3), sequence(9)));
    refused(Targets::matching(&client.notifications().types(["a,b"]), sequence(9)));
    refused(Targets::deliveries(&client.deliveries().after("x"), sequence(9)));
    refused(Targets::deliveries(&client.deliveries().event_types(["a,b"]), sequence(9)));
    // A query for the whole push queue does not mean what was never in it.
    let queue = Targets::deliveries(&client.deliveries(), sequence(9)).unwrap();
    wait_for(client.create_job(NewJob::repush(queue))).unwrap();
    let attributes = &server.seen()[0].json()["data"]["attributes"];
    assert_eq!(attributes["filter"], value!({"filter[endpointType]": "http"}));
    assert_eq!(attributes["all"], false);
}

#[test]
fn jobs_are_listed_read_and_cancelled() {
    let links = |next: Option<&str>| value!({"self": "s", "first": "f", "prev": null, "next": next});
    let page = |next| value!({"links": links(next), "data": [job_resource("done")]}).to_string();
    let second = page(Some("http://elsewhere/jobs?page%5Bsize%5D=1&page%5Bafter%5D=5_x"));
    let server = Server::start([json(200, "", &second), json(200, "", &page(None)), job(200), job(200)]);
    let client = server.client().build().unwrap();
    let jobs: Vec<_> = wait_for(client.jobs().page_size(1).items().try_collect()).unwrap();
    assert_eq!(jobs.iter().map(|job| job.attributes.state).collect::<Vec<_>>(), [JobState::Done; 2]);
    let id = JOB.parse().unwrap();
    assert_eq!(wait_for(client.job(id)).unwrap().data.attributes.total, Some(3));
    wait_for(client.cancel_job(id)).unwrap();

    let seen = server.seen();
    assert_eq!(query(&seen[0]), "page[size]=1");
    assert_eq!(query(&seen[1]), "page[size]=1&page[after]=5_x");
    assert_eq!(seen[2].line, format!("GET /api/rest/v1.0/jobs/{JOB} HTTP/1.1"));
    assert_eq!(seen[3].line, format!("DELETE /api/rest/v1.0/jobs/{JOB} HTTP/1.1"));
}

#[test]
fn the_push_queue_is_asked_for_as_the_contract_says() {
    let body = |next: Option<&str>| {
        let links = value!({"self": "s", "first": "f", "prev": null, "next": next});
        value!({"links": links, "data": [delivery(7)]}).to_string()
    };
    let second = body(Some("http://elsewhere/deliveries?page%5Bafter%5D=1_2_3"));
    let server = Server::start([json(200, "", &second), json(200, "", &body(None))]);
    let client = server.client().build().unwrap();
    let time = DateTime::from_timestamp_millis(1_702_500_170_427).unwrap();
    let asked = client
        .deliveries()
        .ids([sequence(1), sequence(2)])
        .event_types(["close", "my.own"])
        .statuses([DeliveryStatus::Error, DeliveryStatus::Paused])
        .retries([0, 3])
        .errors([AttemptError::BlockedAddress])
        .response_statuses([500, 503])
        .event_from(time)
        .event_before(time)
        .processed_from(time)
        .processed_before(time)
        .next_attempt_from(time)
        .next_attempt_before(time)
        .sort_descending(DeliveryColumn::LastProcessedAt)
        .page_size(9)
        .after("a_b_c");
    let found: Vec<_> = wait_for(asked.items().try_collect()).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].attributes.error_message, Some(AttemptError::Timeout));

    let seen = server.seen();
    let expected = "filter[id]=1,2&filter[eventType]=close,my.own&filter[status]=error,paused&filter[retries]=0,3\
        &filter[errorMessage]=blocked_address&filter[responseStatus]=500,503\
        &filter[eventTime][ge]=2023-12-13T20:42:50.427Z&filter[eventTime][lt]=2023-12-13T20:42:50.427Z\
        &filter[lastProcessedAt][ge]=2023-12-13T20:42:50.427Z&filter[lastProcessedAt][lt]=2023-12-13T20:42:50.427Z\
        &filter[nextAttemptAt][ge]=2023-12-13T20:42:50.427Z&filter[nextAttemptAt][lt]=2023-12-13T20:42:50.427Z\
        &sort=-lastProcessedAt&page[size]=9&page[after]=a_b_c";
    assert_eq!(query(&seen[0]), expected);
    assert!(seen[0].line.starts_with("GET /api/rest/v1.0/deliveries?"), "{}", seen[0].line);
    assert_eq!(query(&seen[1]), "page[after]=1_2_3");
}

#[test]
fn a_delivery_and_its_attempts_are_read_and_the_push_is_tested() {
    let attempts = |next: Value| {
        value!({"links": {"self": "s", "first": "f", "prev": null, "next": next}, "data": [attempt()]})
            .to_string()
    };
    let alerts = value!({"data": {"type": "alertTest", "id": "x", "attributes": {"email": null,
        "url": {"sent": false, "error": "it is down"}}}});
    let server = Server::start([
        json(200, "", &value!({"links": {"self": "s"}, "data": delivery(7)}).to_string()),
        json(200, "", &attempts(value!("s?page%5Bafter%5D=1"))),
        json(200, "", &attempts(Value::Null)),
        json(200, "", &value!({"data": attempt()}).to_string()),
        json(200, "", &alerts.to_string()),
    ]);
    let client = server.client().build().unwrap();
    assert_eq!(wait_for(client.delivery(sequence(7))).unwrap().data.attributes.counter, 3);
    let attempts = wait_for(client.attempts(sequence(7))).unwrap();
    assert_eq!(attempts.data.len(), 2, "all pages as one");
    assert_eq!(attempts.data[1].attributes.reason, AttemptReason::First);
    assert_eq!(wait_for(client.test_push()).unwrap().data.attributes.response_status, Some(500));
    assert!(!wait_for(client.test_alerts()).unwrap().data.attributes.url.unwrap().sent);

    let seen = server.seen();
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    let expected = [
        "GET /api/rest/v1.0/deliveries/7 HTTP/1.1",
        "GET /api/rest/v1.0/deliveries/7/attempts HTTP/1.1",
        "GET /api/rest/v1.0/deliveries/7/attempts?page%5Bafter%5D=1 HTTP/1.1",
        "POST /api/rest/v1.0/external-notifications/test HTTP/1.1",
        "POST /api/rest/v1.0/external-notifications/alerts/test HTTP/1.1",
    ];
    assert_eq!(lines, expected);
    assert_eq!((seen[2].body.as_str(), seen[2].header("content-type")), ("", None));
}

#[test]
fn what_must_not_be_done_twice_is_only_repeated_if_it_was_not_begun() {
    let busy = |status| json(status, "", "{}");
    let server = Server::start([
        busy(429),
        busy(503),
        job(202),
        // From here on, it may have been carried out.
        busy(502),
        busy(504),
        Reply::Close(String::new()),
        Reply::Close("HTTP/1.1 202 X\r\ncontent-length: 500\r\n\r\n{".into()),
        Reply::Close(String::new()),
    ]);
    let client = server.client().build().unwrap();
    let new = || NewJob::repush(Targets::all(sequence(1)));
    wait_for(client.create_job(new())).unwrap();
    assert_eq!(server.seen().len(), 3);
    for _ in 0..4 {
        wait_for(client.create_job(new())).unwrap_err();
        assert_eq!(server.seen().len(), 1);
    }
    wait_for(client.test_push()).unwrap_err();
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_never_left_is_sent_again() {
    // A port at which nobody listens at first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = crate::Client::builder(format!("http://{address}")).key("k").build().unwrap();
    let begun = std::time::Instant::now();
    wait_for(client.test_push()).unwrap_err();
    // Four pauses, of 100, 200, 400 and 800 ms at least.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(1_500), "{:?}", begun.elapsed());
}

#[test]
fn the_newest_is_found_whether_it_is_dismissed_or_not() {
    let page = |data: &str| {
        json(
            200,
            "",
            &format!(r#"{{"links":{{"self":"","first":"","prev":null,"next":null}},"data":[{data}]}}"#),
        )
    };
    let server = Server::start([page(&notification(519)), page("")]);
    let client = server.client().build().unwrap();
    assert_eq!(wait_for(client.newest()).unwrap(), sequence(519));
    assert_eq!(wait_for(client.newest()).unwrap(), crate::Sequence::START);
    assert_eq!(query(&server.seen()[0]), "filter[isDismissed]=true,false&sort=-sequence&page[size]=1");
}

/// A query is one whatever client it belongs to.
#[test]
fn a_query_of_a_blocking_client_can_be_a_target_too() {
    let client = Server::start([]).client().build().unwrap().blocking();
    let query: Query<crate::blocking::Client> = client.notifications().flagged(true);
    let deliveries: Deliveries<crate::blocking::Client> = client.deliveries();
    Targets::matching(&query, sequence(1)).unwrap();
    Targets::deliveries(&deliveries, sequence(1)).unwrap();
}
