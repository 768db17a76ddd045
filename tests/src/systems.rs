//! Receivers as the documentation of the five model systems has them: what they check, what they answer, and how they
//! say no.
//!
//! Each is a [`Receiver`] with that system's manners. A test says which of its answers it gives, by the number of the
//! push; what the system checks (headers, credentials, ids, the shape of the body) it always checks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Receiver, Reply, Request};

/// An answer with a JSON body.
pub fn json_reply(status: u16, body: &Value) -> Reply {
    text_reply(status, "application/json", &body.to_string())
}

/// An answer with a body of a media type.
pub fn text_reply(status: u16, media_type: &str, body: &str) -> Reply {
    Reply::WithBody(status, vec![("content-type".into(), media_type.into())], body.into())
}

/// Whether the body is a notification's document, as all of these receivers expect it.
fn is_notification(request: &Request) -> bool {
    let document: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    document["data"]["type"] == "notification"
        && document["data"]["id"].is_string()
        && document["data"]["attributes"]["type"].is_string()
}

/// The event handler of Signals Notebook: it knows its caller by a header with a fixed value and refuses every other
/// request with 401. What it takes it answers, after a pause, with 200.
pub fn signals(header: &'static str, value: &'static str, pause: Duration) -> Receiver {
    Receiver::start(move |request, _| {
        if request.header(header) != value {
            return Reply::Status(401);
        }
        let status = if request.method == "POST" && is_notification(request) { 200 } else { 400 };
        Reply::After(pause, Box::new(Reply::Status(status)))
    })
}

/// Where an Acrobat Sign handler repeats the client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// In the header of the same name.
    Header,
    /// In the member `xAdobeSignClientId` of a JSON body.
    Body,
    /// Not at all: a plain 200, which counts for nothing.
    Nowhere,
}

/// The header in which Acrobat Sign sends the client id, and has it repeated.
pub const CLIENT_ID_HEADER: &str = "X-AdobeSign-ClientId";

/// A handler of Acrobat Sign's webhooks: it takes GET, the verification of intent, and POST. A client id that it doesn't
/// know must not be answered with success: it says 400. To the id that it knows `echo` decides, by the method and by how
/// many requests of this method came before.
pub fn acrobat_sign(
    client_id: &'static str,
    echo: impl Fn(&str, usize) -> Echo + Send + Sync + 'static,
) -> Receiver {
    let (gets, posts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Receiver::start(move |request, _| {
        let had = request.header(&CLIENT_ID_HEADER.to_ascii_lowercase());
        if had != client_id {
            return text_reply(400, "text/plain", "Illegitimate call");
        }
        let count = match request.method.as_str() {
            "GET" if request.body.is_empty() => &gets,
            "POST" if is_notification(request) => &posts,
            _ => return Reply::Status(405),
        };
        match echo(&request.method, count.fetch_add(1, Ordering::SeqCst)) {
            Echo::Header => Reply::WithHeaders(200, vec![(CLIENT_ID_HEADER.into(), had.to_owned())]),
            Echo::Body => json_reply(200, &json!({"xAdobeSignClientId": had})),
            Echo::Nowhere => json_reply(200, &json!({"received": true})),
        }
    })
}

/// The text of a [`socrate_cloud`] failure: 1,500 characters of which many take two bytes, so that it shows whether
/// characters or bytes are counted.
pub fn long_story() -> String {
    "Eroare: înregistrarea n-a fost găsită. ".chars().cycle().take(1500).collect()
}

/// The third party of SocrateCloud's Push Data: 2xx and `Ok` when it has synchronised the record, 500 and a long story
/// when `fails` says so, by how many pushes came before.
pub fn socrate_cloud(fails: impl Fn(usize) -> bool + Send + Sync + 'static) -> Receiver {
    Receiver::start(move |request, nth| match (request.method.as_str(), is_notification(request)) {
        ("POST", true) if fails(nth) => text_reply(500, "text/plain; charset=utf-8", &long_story()),
        ("POST", true) => text_reply(200, "text/plain", "Ok"),
        _ => Reply::Status(400),
    })
}

/// A listener of Sertifi's Real Time Updates: it knows its caller by user name and password, takes every event, of types
/// that it doesn't know too, and confirms it in JSON. Whoever isn't known gets 401.
pub fn sertifi(username: &str, password: &str) -> Receiver {
    let expected = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
    Receiver::start(move |request, _| {
        if request.header("authorization") != expected {
            return json_reply(401, &json!({"Message": "Unknown user name or password"}));
        }
        if request.method != "POST" || !is_notification(request) {
            return json_reply(400, &json!({"Message": "Not a notification"}));
        }
        let event = &request.json()["data"]["attributes"]["type"];
        let known = ["FileCreated", "AgreementCreated", "AgreementSigned", "AgreementCompleted"];
        let handled = known.iter().any(|known| event == known);
        json_reply(200, &json!({"Received": true, "Handled": handled}))
    })
}

/// What a ServiceOptimizer server answers to a notification. Only the first two mean that it was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The code as a string, as the documentation's example has it.
    CodeAsString,
    /// The code as an integer, as the documentation's table has it.
    CodeAsNumber,
    /// Not handled, for a reason of kind 7; the status is 200 all the same.
    Unsuccessful,
    /// Handled, says the one member; not handled, says the other.
    Contradictory,
    /// Something that isn't the document at all.
    Garbage,
}

/// The notification server of ServiceOptimizer: it wants the user agent `DataNotifier`, the token as it is in
/// `Authorization`, and JSON; anything else it refuses in a body, with 200. To the rest `answer` decides, by how many
/// pushes came before.
pub fn service_optimizer(
    token: &'static str,
    answer: impl Fn(usize) -> Envelope + Send + Sync + 'static,
) -> Receiver {
    Receiver::start(move |request, nth| {
        let refusal = |code: i32, message: &str| {
            json_reply(200, &json!({"Success": false, "Code": code, "Message": message}))
        };
        if request.header("user-agent") != "DataNotifier" || request.header("authorization") != token {
            return refusal(1, "not authenticated");
        }
        if request.method != "POST"
            || request.header("content-type") != "application/json"
            || !is_notification(request)
        {
            return refusal(2, "not a notification");
        }
        match answer(nth) {
            Envelope::CodeAsString => {
                json_reply(200, &json!({"Success": true, "Code": "0", "Message": "OK"}))
            }
            Envelope::CodeAsNumber => json_reply(200, &json!({"Success": true, "Code": 0, "Message": ""})),
            Envelope::Unsuccessful => refusal(7, "no such job"),
            Envelope::Contradictory => json_reply(200, &json!({"Success": true, "Code": 1, "Message": "OK"})),
            Envelope::Garbage => text_reply(200, "text/html", "<html><body>It works!</body></html>"),
        }
    })
}
