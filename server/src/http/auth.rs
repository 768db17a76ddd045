//! Who calls, and what they may do. Every request below the base path passes [`guard`]; each handler asks for its role
//! by its first extractor, so that a wrong role is told before anything of the body is.

use std::future::{Ready, ready};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, ResponseError as _, web};
use tidings_api::TENANT_HEADER;
use tidings_api::error::ErrorCode;
use tidings_api::tenant::Role;

use super::error::Error;
use super::{State, body, media};
use crate::directory::Principal;
use crate::secrets;
use crate::store::seam::TenantId;

/// Whom the request's key belongs to.
#[derive(Clone, Copy)]
enum Caller {
    Operator,
    Tenant(Principal),
}

/// Lets only known keys pass, and only clients that can read the answer.
pub(super) async fn guard<B: MessageBody + 'static>(
    state: web::Data<State>,
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let is_strict = media::wants_strict(request.headers());
    let admitted = match identify(&state, request.headers()).await {
        Ok(caller) => media::check_accept(request.headers()).map(|()| caller),
        Err(error) => Err(error),
    };
    let mut response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            let tenant = tenant_header(&state, caller).await;
            let mut response = next.call(request).await?.map_into_left_body();
            if let Some((name, value)) = tenant {
                response.headers_mut().insert(name, value);
            }
            response
        }
        Err(error) => {
            body::drain(request.take_payload()).await;
            request.into_response(error.error_response()).map_into_right_body()
        }
    };
    let headers = response.headers_mut();
    if is_strict && let Some(written) = headers.get(header::CONTENT_TYPE).and_then(media::by_profile) {
        headers.insert(header::CONTENT_TYPE, written);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `tidings-tenant`: who keeps answers of several tenants can tell them apart, and a key that was mixed up is noticed.
async fn tenant_header(state: &State, caller: Caller) -> Option<(header::HeaderName, HeaderValue)> {
    let Caller::Tenant(principal) = caller else { return None };
    // If it can't be read, the request itself says why.
    let entry = state.directory.tenant(principal.tenant).await.ok()??;
    let value = HeaderValue::from_str(&entry.tenant.public_id).ok()?;
    Some((header::HeaderName::from_static(TENANT_HEADER), value))
}

async fn identify(state: &State, headers: &HeaderMap) -> Result<Caller, Error> {
    let key = key(headers).ok_or_else(Error::unauthenticated)?;
    if same(&secrets::hash(key.as_bytes()), &state.operator_key) {
        return Ok(Caller::Operator);
    }
    let principal = state.directory.principal(key).await?;
    principal.map(Caller::Tenant).ok_or_else(Error::unauthenticated)
}

/// The one key that the headers hold; none where there is none, or where there are two.
fn key(headers: &HeaderMap) -> Option<&str> {
    let plain = headers.get_all("x-api-key").map(|value| value.to_str().ok());
    let bearer = headers.get_all(header::AUTHORIZATION).map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let mut keys = plain.chain(bearer);
    let first = keys.next()??;
    (!first.is_empty() && keys.all(|other| other == Some(first))).then_some(first)
}

/// Compares without telling by its time how much is equal.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn caller(request: &HttpRequest) -> Result<Caller, Error> {
    request.extensions().get::<Caller>().copied().ok_or_else(Error::unauthenticated)
}

fn forbidden<T>(needed: &str) -> Result<T, Error> {
    Err(Error::new(ErrorCode::Forbidden, format!("this needs a key with the role `{needed}`")))
}

fn tenant_key(request: &HttpRequest) -> Result<Principal, Error> {
    match caller(request)? {
        Caller::Tenant(principal) => Ok(principal),
        Caller::Operator => {
            let detail = "the operator's key manages tenants; this needs a key of a tenant";
            Err(Error::new(ErrorCode::Forbidden, detail))
        }
    }
}

/// Whether a principal has a role.
///
/// # Errors
/// 403 when it hasn't.
pub(super) fn require(principal: Principal, role: Role) -> Result<(), Error> {
    if principal.role.includes(role) { Ok(()) } else { forbidden(role.as_str()) }
}

macro_rules! extractors {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $check:expr;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name(pub(super) $inner);

        impl FromRequest for $name {
            type Error = Error;
            type Future = Ready<Result<Self, Error>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let check: fn(&HttpRequest) -> Result<$inner, Error> = $check;
                ready(check(request).map($name))
            }
        }
    )*};
}

fn with_role(request: &HttpRequest, role: Role) -> Result<TenantId, Error> {
    let principal = tenant_key(request)?;
    require(principal, role).map(|()| principal.tenant)
}

extractors! {
    /// A tenant's key that may post events.
    Producer(TenantId) = |request| with_role(request, Role::Producer);
    /// A tenant's key that may read and change flags.
    Consumer(TenantId) = |request| with_role(request, Role::Consumer);
    /// A tenant's key that may change settings.
    Admin(TenantId) = |request| with_role(request, Role::Admin);
    /// Any key of a tenant.
    AnyRole(Principal) = tenant_key;
    /// Any key: for a tenant's its hash, nothing for the operator's.
    AnyKey(Option<(Principal, [u8; 32])>) = |request| match caller(request)? {
        Caller::Operator => Ok(None),
        Caller::Tenant(principal) => {
            let key = key(request.headers()).ok_or_else(Error::unauthenticated)?;
            Ok(Some((principal, secrets::hash(key.as_bytes()))))
        }
    };
    /// The operator's key.
    Operator(()) = |request| match caller(request)? {
        Caller::Operator => Ok(()),
        Caller::Tenant(_) => forbidden("operator"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_in_either_header_counts() {
        let key_of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(header::HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            key(&headers).map(str::to_owned)
        };
        for good in [
            &[("x-api-key", "k")][..],
            &[("authorization", "Bearer k")],
            &[("authorization", "bearer  k")],
            &[("x-api-key", "k"), ("authorization", "Bearer k")],
            &[("x-api-key", "k"), ("x-api-key", "k")],
        ] {
            assert_eq!(key_of(good).as_deref(), Some("k"), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("authorization", "k")],
            &[("authorization", "Basic k")],
            &[("x-api-key", "k"), ("authorization", "Bearer other")],
            &[("x-api-key", "k"), ("authorization", "Basic k")],
            &[("x-api-key", "k"), ("x-api-key", "other")],
        ] {
            assert_eq!(key_of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn hashes_are_compared_whole() {
        let hash = secrets::hash(b"a");
        assert!(same(&hash, &hash.clone()));
        for index in [0, 31] {
            let mut other = hash;
            other[index] ^= 1;
            assert!(!same(&hash, &other));
        }
    }
}
