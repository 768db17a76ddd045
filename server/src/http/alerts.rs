//! `/external-notifications/alerts/test`: whether alerts arrive.

use actix_web::{HttpResponse, post, web};
use tidings_api::alert::{AlertTestDocument, AlertTestResource};
use tidings_api::delivery::TestDocument;
use tidings_api::error::ErrorCode;

use super::auth::Admin;
use super::body::TestBody;
use super::error::Error;
use super::query::NoParameters;
use super::test::permit;
use super::{State, json};
use crate::alerts::Untested;
use crate::push::attempt::Attempts;

/// Sends a test alert
///
/// Sends an alert of the kind `test` now, to `alerts.email` and to `alerts.url`, and answers for each whether it was taken
/// and, if not, why. 422 if neither is set, 429 while too many tests of the tenant are under way, and within a minute of the
/// last one by mail. Role: `admin`.
#[utoipa::path(
    operation_id = "testAlerts",
    tag = "settings",
    request_body(content = Option<TestDocument>, example = json!({"data": {"type": "test"}})),
    responses(
        (status = 200, description = "What became of the test", body = AlertTestDocument),
        (status = 429, description = "`too_many_verifications`: too many tests of this tenant are under way, or the last mail was a moment ago", body = tidings_api::error::ErrorDocument),
    )
)]
#[post("/external-notifications/alerts/test")]
pub(super) async fn post_external_notifications_alerts_test(
    caller: Admin,
    _: NoParameters,
    state: web::Data<State>,
    attempts: web::Data<Attempts>,
    _: TestBody,
) -> Result<HttpResponse, Error> {
    let entry = state.tenant(caller.0).await?;
    let alerts = &entry.settings.alerts;
    if alerts.email.is_none() && alerts.url.is_none() {
        let detail = "neither alerts.email nor alerts.url is set: there is nobody to tell";
        return Err(Error::value("", detail));
    }
    let _permit = permit(&attempts, caller.0)?;
    let (id, attributes) =
        state.alerts.test(&attempts.sender, &entry).await.map_err(|error| match error {
            Untested::TooSoon(seconds) => {
                let detail = format!("a test was mailed a moment ago; try again in {seconds} seconds");
                Error::new(ErrorCode::TooManyVerifications, detail).retry_after(seconds)
            }
            Untested::Store(error) => Error::from(error),
        })?;
    json(&AlertTestDocument { data: AlertTestResource { r#type: "alertTest".to_owned(), id, attributes } })
}
