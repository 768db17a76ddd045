//! `/external-notifications/test`: trying a tenant's push.

use actix_web::{HttpResponse, post, web};
use tidings_api::delivery::{AttemptAttributes, AttemptDocument, AttemptResource, TestDocument};
use tidings_api::error::ErrorCode;

use super::auth::Admin;
use super::body::TestBody;
use super::error::Error;
use super::query::NoParameters;
use super::{State, json, time};
use crate::push::attempt::Attempts;
use crate::push::verification::{Permit, Unverified};
use crate::store::seam::{AttemptRecord, TenantId};

/// Tries the push
///
/// Sends one notification of the type `test` to the tenant's URL now, also while the push is paused, by all the settings
/// in force: authentication, signature, payload, acknowledgement. Its id is `0`, its `webhook-id` belongs to no
/// notification, and it has the header `tidings-test: true`. The answer is the attempt, whether it succeeded or not,
/// with the request as it was sent. Nothing is stored, and nothing changes. At most 10 tests and verifications of a tenant are made at a time; they don't
/// count towards `push.maxConcurrency` and `push.rateLimit`. Role: `admin`.
#[utoipa::path(
    operation_id = "testPush",
    tag = "settings",
    request_body(content = Option<TestDocument>, example = json!({"data": {"type": "test"}})),
    responses(
        (status = 200, description = "The attempt", body = AttemptDocument),
        (status = 409, description = "`conflict`: there is no URL to push to", body = tidings_api::error::ErrorDocument),
        (status = 429, description = "`too_many_verifications`: too many tests of this tenant are under way", body = tidings_api::error::ErrorDocument),
    )
)]
#[post("/external-notifications/test")]
pub(super) async fn post_external_notifications_test(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    attempts: web::Data<Attempts>,
    _: TestBody,
) -> Result<HttpResponse, Error> {
    let entry = state.tenant(caller.0).await?;
    let _permit = permit(&attempts, caller.0)?;
    let no_url = || Error::new(ErrorCode::Conflict, "there is no URL to push to; set `push.url` first");
    let (record, request) = attempts.test(&entry).await.ok_or_else(no_url)?;
    json(&AttemptDocument {
        data: AttemptResource {
            r#type: "attempt".to_owned(),
            id: "test".to_owned(),
            attributes: AttemptAttributes { request, ..attributes(record) },
        },
    })
}

/// Leave for one test; it ends when this is dropped.
///
/// # Errors
/// 429 while too many are under way.
pub(super) fn permit(attempts: &Attempts, tenant: TenantId) -> Result<Permit, Error> {
    attempts
        .permits
        .take(tenant)
        .ok_or_else(|| Error::new(ErrorCode::TooManyVerifications, Unverified::TooMany.to_string()))
}

/// An attempt as it is shown.
pub(super) fn attributes(record: AttemptRecord) -> AttemptAttributes {
    AttemptAttributes {
        started_at: time(record.started_at),
        duration_ms: record.duration_ms.unsigned_abs(),
        url: record.url.to_string(),
        address: record.address,
        reason: record.reason,
        response_status: record.response_status.map(i16::unsigned_abs),
        response_text: record.response_status.map(|_| record.response_text),
        error: record.error,
        request: None,
    }
}
