//! What the server itself sends to a tenant's URLs, described for those who write a receiver.

use serde_json::json;
use tidings_api::{MEDIA_TYPE, TENANT_HEADER};
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Content, Ref, RefOr, Required, ResponseBuilder, Schema, SecurityRequirement};

use crate::rules::format::CLOUD_EVENT;

/// A header: its name, whether it is always there, what it says, and an example.
type Header = (&'static str, bool, &'static str, &'static str);

/// Those of Standard Webhooks.
const SIGNED: [Header; 3] = [
    (
        "webhook-id",
        true,
        "The same for every attempt: whoever has seen it has the content",
        "msg_c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a_519",
    ),
    ("webhook-timestamp", true, "When this attempt was made, in seconds since 1970", "1702500170"),
    (
        "webhook-signature",
        true,
        "`v1,` and the base64 of the HMAC-SHA-256 over `webhook-id.webhook-timestamp.body`, by the signing secret; while a secret is being replaced there is one for each, with a space between",
        "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=",
    ),
];

const PUSH: [Header; 4] = [
    (TENANT_HEADER, true, "The id of the tenant", "c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a"),
    ("tidings-sequence", true, "The id of the notification; 0 in a test", "519"),
    ("tidings-attempt", true, "The number of the attempt, from 1", "1"),
    (
        "tidings-test",
        false,
        "`true` in a test, which is no notification: `POST /external-notifications/test`",
        "true",
    ),
];

/// The attributes of a CloudEvent, in its binary mode.
const EVENT: [Header; 7] = [
    ("ce-specversion", false, "`1.0`", "1.0"),
    ("ce-id", false, "The `webhook-id`", "msg_c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a_519"),
    ("ce-source", false, "The tenant", "urn:uuid:c4c5a3d0-58b8-4f6e-9d5f-6f3c8d6f2b1a"),
    ("ce-type", false, "The event's type", "close"),
    ("ce-time", false, "When it happened", "2023-12-13T20:42:50.427Z"),
    (
        "ce-sequence",
        false,
        "The id of the notification, with zeros before it up to 19 digits",
        "0000000000000000519",
    ),
    (
        "ce-subject",
        false,
        "The id of the entity, percent-encoded as CloudEvents' HTTP binding says; if there is one, and `payload.fields` doesn't leave it out",
        "experiment:d5dc8e92",
    ),
];

/// Those that an alert has too.
const ALERT: [Header; 5] = [
    EVENT[0],
    EVENT[1],
    EVENT[2],
    ("ce-type", false, "`tidings.alert.` and the alert's kind", "tidings.alert.disabled"),
    EVENT[4],
];

/// The same as a body, in the structured mode.
fn cloud_event(attributes: &[Header], data: RefOr<Schema>) -> RefOr<Schema> {
    let mut event = ObjectBuilder::new();
    for (nth, (name, _, what, example)) in attributes.iter().copied().enumerate() {
        let attribute = name.trim_start_matches("ce-");
        let text = ObjectBuilder::new().schema_type(Type::String).examples([json!(example)]);
        let what = what.replace(", percent-encoded as CloudEvents' HTTP binding says", "");
        event = event.property(attribute, text.description(Some(what)));
        if nth < ALERT.len() {
            event = event.required(attribute);
        }
    }
    let media_type = ObjectBuilder::new()
        .schema_type(Type::String)
        .examples([json!("application/json")])
        .description(Some("The media type of the document"));
    let event = event.property("datacontenttype", media_type).required("datacontenttype");
    event.property("data", data).required("data").into()
}

/// All of them.
pub(super) fn webhooks() -> Paths {
    let trimmed = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).description(
        Some("The fields of `payload.optionalFields` that were dropped because the body was too large"),
    );
    let meta = ObjectBuilder::new()
        .property("conditionalParametersTrimmed", trimmed)
        .description(Some("Only where something was dropped"));
    let document = AllOfBuilder::new()
        .item(Ref::from_schema_name("NotificationDocument"))
        .item(ObjectBuilder::new().property("meta", meta));
    let document = RefOr::<Schema>::from(document);
    let alert = RefOr::<Schema>::from(Ref::from_schema_name("AlertDocument"));
    let push = operation(
        "pushNotification",
        "Pushes a notification",
        "Sent to `push.url`, with what `push.authentication` and `push.clientIdHeader` add. The body is the document of the \
         notification without `data.meta`, and with `isDismissed` as it will be once the push is accepted; under \
         `payload.detail` and `payload.fields` members are missing. Its media type is `push.contentType`. With \
         `payload.format` `cloudEvents` it is the data of a CloudEvent, with `cloudEventsBinary` the event's attributes are \
         the headers `ce-…`.",
        &[&SIGNED[..], &PUSH, &EVENT],
        vec![
            ("application/json", document.clone()),
            (MEDIA_TYPE, document.clone()),
            (CLOUD_EVENT, cloud_event(&EVENT, document)),
        ],
        "Accepted: any status from 200 to 299, and what `push.acknowledgement` asks for besides. Anything else is a \
         failure, and `push.retry` says what follows; 410 pauses the push, 429 and 503 with `Retry-After` are obeyed",
    );
    let alert = operation(
        "sendAlert",
        "Tells of a push in trouble",
        "Sent to `alerts.url` when the state of a push changes, and for `POST /external-notifications/alerts/test`, in the \
         format of `payload.format`.",
        &[&SIGNED[..], &ALERT],
        vec![("application/json", alert.clone()), (CLOUD_EVENT, cloud_event(&ALERT, alert))],
        "Taken: any status from 200 to 299",
    );
    PathsBuilder::new().path("notification", push).path("alert", alert).build()
}

fn operation(
    id: &str,
    summary: &str,
    description: &str,
    headers: &[&[Header]],
    bodies: Vec<(&str, RefOr<Schema>)>,
    success: &str,
) -> PathItem {
    let mut body = RequestBodyBuilder::new().required(Some(Required::True));
    for (media_type, schema) in bodies {
        body = body.content(media_type, Content::new(Some(schema)));
    }
    let mut operation = OperationBuilder::new()
        .operation_id(Some(id))
        // Not that of other calls: generators make one file for each tag, and those of webhooks would replace them.
        .tag("webhooks")
        .summary(Some(summary))
        .description(Some(description))
        .request_body(Some(body.build()))
        .response("2XX", ResponseBuilder::new().description(success))
        .securities(Some(Vec::<SecurityRequirement>::new()));
    for (name, always, what, example) in headers.iter().copied().flatten() {
        let header = ParameterBuilder::new()
            .name(*name)
            .parameter_in(ParameterIn::Header)
            .required(if *always { Required::True } else { Required::False })
            .description(Some(*what))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .example(Some(json!(example)));
        operation = operation.parameter(header);
    }
    PathItem::new(HttpMethod::Post, operation)
}
