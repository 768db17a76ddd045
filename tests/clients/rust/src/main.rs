//! What a program in Rust says to the server through the client that progenitor has made.

use std::env;
use std::error::Error as StdError;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;

use tidings::types::{
    ErrorDocument, ErrorObject, EventAttributes, EventData, EventDocument, EventRelationship,
    EventRelationships, Flags, FlagsData, FlagsDocument, Identifier, Operation, OperationsDocument,
    RawResource, RawResourceType,
};
use tidings::{Client, Error};

#[expect(dead_code, unused_imports, reason = "there is more to call than what is called here")]
mod tidings {
    include!(concat!(env!("OUT_DIR"), "/tidings.rs"));
}

type AnyError = Box<dyn StdError>;

fn event(kind: &str) -> Result<EventData, AnyError> {
    let user = Identifier::builder().type_("user").id("100");
    let event = EventData::builder()
        .type_("notification")
        .attributes(EventAttributes::builder().type_(kind).comment(Some("from Rust".parse()?)))
        .relationships(EventRelationships::try_from(
            EventRelationships::builder()
                .created_by(EventRelationship::try_from(EventRelationship::builder().data(user))?),
        )?);
    Ok(event.try_into()?)
}

async fn post(client: &Client, kind: &str, key: &str) -> Result<String, AnyError> {
    let user = RawResource::builder().type_(RawResourceType::User).id("100");
    let document = EventDocument::builder().data(event(kind)?).included(vec![user.try_into()?]);
    let answer = client.post_notification().idempotency_key(key).body(document).send().await?;
    Ok(answer.into_inner().data.ok_or("not stored")?.id.to_string())
}

fn flags(id: &str, flags: impl TryInto<Flags, Error: std::fmt::Display>) -> Result<FlagsData, AnyError> {
    Ok(FlagsData::builder().type_("notification").id(id).attributes(flags).try_into()?)
}

/// The first error of a refusal, by its type.
fn refusal<T>(answer: Result<T, Error<ErrorDocument>>) -> Result<ErrorObject, AnyError> {
    match answer {
        Err(Error::ErrorResponse(refused)) => Ok(refused.into_inner().errors.remove(0)),
        Err(other) => Err(other.into()),
        Ok(_) => Err("not refused".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AnyError> {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(&env::var("TIDINGS_KEY")?)?);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    let client = Client::new_with_client(&env::var("TIDINGS_URL")?, http);

    // Posts, one of them twice.
    let mut posted = Vec::new();
    for (n, kind) in ["close", "print", "close", "print", "close"].into_iter().enumerate() {
        posted.push(post(&client, kind, &format!("post-{n}")).await?);
    }
    let repeated = post(&client, "close", "post-0").await?;

    // Lists by filter and cursor to the end.
    let (mut listed, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let list =
            client.list_notifications().filter_type("close").sort("sequence").page_size(2).page_after(after);
        let page = list.send().await?.into_inner();
        listed.extend(page.data.iter().map(|notification| notification.id.to_string()));
        after = page.meta.and_then(|meta| meta.page).ok_or("no cursor")?.after;
        if page.links.next.is_none() {
            break;
        }
    }

    // Changes a flag.
    let patch = FlagsDocument::JsonApiFlags { data: flags(&posted[0], Flags::builder().is_read(true))? };
    let patched = client.patch_notification().id(&posted[0]).body(patch).send().await?.into_inner();

    // Does two things at once.
    let update = flags(&posted[1], Flags::builder().is_flagged(true))?;
    let operations = vec![
        Operation::Add { data: event("sign")?, included: Vec::new() },
        Operation::Update { data: update, ref_: None },
    ];
    let operations = OperationsDocument::builder().atomic_operations(operations);
    let results = client.post_operations().body(operations).send().await?.into_inner().atomic_results;
    let of = |n: usize| results[n].data.as_ref().ok_or("no result");

    // Is refused.
    let refused = refusal(client.list_notifications().page_after("somewhere").send().await)?;
    let unknown = refusal(client.get_notification().id("1000").send().await)?;

    let said = json!({
        "posted": posted,
        "repeated": repeated,
        "listed": listed,
        "isRead": patched.data.attributes.is_read,
        "added": of(0)?.id,
        "isFlagged": of(1)?.attributes.is_flagged,
        "refused": [refused.code.to_string(), refused.source.and_then(|source| source.parameter)],
        "unknown": [unknown.status, unknown.code.to_string()],
    });
    println!("{said}");
    Ok(())
}
