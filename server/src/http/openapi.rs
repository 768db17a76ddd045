//! The description of the API: collected from the handlers, completed here with what holds for all of them.

mod version_3_0;
mod webhooks;

use actix_web::dev::ResourceDef;
use bytes::Bytes;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Content, Object, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa_actix_web::AppExt as _;

use tidings_api::alert::AlertDocument;
use tidings_api::error::{ErrorCode, ErrorDocument, ErrorObject, ErrorSource};
use tidings_api::tenant::Role;
use tidings_api::{ATOMIC_EXTENSION, BASE_PATH, MEDIA_TYPE};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Tidings",
        description = "Keeps every notification of an application, pushes each one to one URL per tenant, and lets the \
            receiver catch up on what it missed. Documents follow JSON:API 1.1; their shape is that of Signals \
            Notebook's External Notifications. A key of a tenant has a role, and each \
            call names those that will do, for tools in `x-roles`. A client that needs JSON:API without the liberties \
            of Signals names the profile `urn:tidings:profile:strict` in `Accept`: the page at `/docs/#profile-strict` \
            says what differs.",
        contact(name = "Tidings"),
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "notifications", description = "Post events, read and flag notifications"),
        (name = "users and entities", description = "What notifications are about"),
        (name = "push queue", description = "What is pushed, what came of it, and pushing it again"),
        (name = "settings", description = "What a tenant wants stored and pushed, and how"),
        (name = "webhooks", description = "What the server itself sends to a tenant's URLs"),
        (name = "tenants", description = "Tenants and their keys, managed with the operator's key"),
        (name = "server", description = "Probes and documentation, without a key"),
    ),
    servers((url = "/", description = "The server that this description comes from")),
    components(schemas(ErrorDocument, AlertDocument))
)]
struct Base;

/// Where an operation names the roles of which a key needs one, for tools: a security requirement can't, in OpenAPI 3.0.
const ROLES: &str = "x-roles";

/// The description, ready to be answered and to be asked.
pub(super) struct Description {
    /// The document.
    pub(super) json: Bytes,
    /// The same in OpenAPI 3.0.
    pub(super) json_3_0: Bytes,
    paths: Vec<(ResourceDef, String)>,
}

impl Description {
    pub(super) fn new() -> Self {
        let document = openapi();
        let json = document.to_pretty_json().unwrap_or_default().into();
        let older = serde_json::to_value(&document).map(version_3_0::convert);
        let json_3_0 = older.map(|older| format!("{older:#}")).unwrap_or_default().into();
        let paths = document
            .paths
            .paths
            .iter()
            .map(|(path, item)| (ResourceDef::new(path.as_str()), methods(item).join(", ")))
            .collect();
        Description { json, json_3_0, paths }
    }

    /// The methods of a path; none if it is not known.
    pub(super) fn allowed(&self, path: &str) -> Option<&str> {
        self.paths.iter().find(|(known, _)| known.is_match(path)).map(|(_, allow)| allow.as_str())
    }
}

fn methods(item: &PathItem) -> Vec<&'static str> {
    let known = [
        ("GET", &item.get),
        ("HEAD", &item.get),
        ("POST", &item.post),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    known.into_iter().filter(|(_, operation)| operation.is_some()).map(|(name, _)| name).collect()
}

/// The description of the whole API.
pub fn openapi() -> OpenApi {
    let base = <Base as utoipa::OpenApi>::openapi();
    let app = actix_web::App::new().into_utoipa_app().openapi(base).configure(super::routes);
    let (_, mut document) = app.split_for_parts();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    let components = document.components.get_or_insert_default();
    complete_components(components);
    for (path, item) in &mut document.paths.paths {
        for operation in
            [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
        {
            complete(path, operation);
        }
    }
    document.webhooks = Some(webhooks::webhooks());
    document
}

/// The codes of the errors that many calls share, by status, under the name of their answer.
const SHARED: [(&str, &str, &[ErrorCode]); 12] = [
    (
        "BadRequest",
        "400",
        &[ErrorCode::InvalidParameter, ErrorCode::UnknownParameter, ErrorCode::InvalidHeader],
    ),
    ("InvalidBody", "400", &[ErrorCode::InvalidJson, ErrorCode::UnknownParameter, ErrorCode::InvalidHeader]),
    ("Unauthenticated", "401", &[ErrorCode::Unauthenticated]),
    ("Forbidden", "403", &[ErrorCode::Forbidden, ErrorCode::NotChangeable]),
    ("NotFound", "404", &[ErrorCode::NotFound]),
    ("NotAcceptable", "406", &[ErrorCode::NotAcceptable]),
    ("Conflict", "409", &[ErrorCode::Conflict, ErrorCode::IdempotencyConflict]),
    ("TooLarge", "413", &[ErrorCode::TooLarge]),
    ("UnsupportedMediaType", "415", &[ErrorCode::UnsupportedMediaType]),
    (
        "Unprocessable",
        "422",
        &[
            ErrorCode::InvalidValue,
            ErrorCode::UnknownMember,
            ErrorCode::MissingMember,
            ErrorCode::BlockedAddress,
            ErrorCode::VerificationFailed,
        ],
    ),
    ("Internal", "500", &[ErrorCode::Internal]),
    ("Unavailable", "503", &[ErrorCode::Unavailable]),
];

fn complete_components(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::OneOf(choice)) = schema else { continue };
        for one in &mut choice.items {
            let RefOr::T(Schema::Object(one)) = one else { continue };
            for (_, tag) in
                one.properties.iter_mut().filter(|(name, _)| matches!(name.as_str(), "kind" | "op"))
            {
                if let RefOr::T(Schema::Object(tag)) = tag {
                    tag.description.get_or_insert_with(|| "Which of them it is".to_owned());
                }
            }
        }
    }
    for (name, _, codes) in SHARED {
        let mut response = error_response(codes);
        let header = match name {
            "Unauthenticated" => Some(("WWW-Authenticate", Type::String, "`Bearer`: how a key can be given")),
            "Unavailable" => {
                Some(("Retry-After", Type::Integer, "After so many seconds it is worth another try"))
            }
            _ => None,
        };
        if let Some((name, kind, what)) = header {
            let header =
                HeaderBuilder::new().schema(Some(Object::with_type(kind))).description(Some(what)).build();
            response.headers.insert(name.to_owned(), header.into());
        }
        components.responses.insert(name.to_owned(), response.into());
    }
    let header = |what: &str| ApiKeyValue::with_description("x-api-key", what);
    let tenant = header(
        "A tenant's key. Its role is `producer` (posts events), `consumer` (reads, and sets flags) or `admin` (both, and \
         settings, deliveries, jobs).",
    );
    let operator = header("The operator's key.");
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("Either key, as `Authorization: Bearer KEY`."))
        .build();
    let schemes = [
        ("tenantKey", SecurityScheme::ApiKey(ApiKey::Header(tenant))),
        ("operatorKey", SecurityScheme::ApiKey(ApiKey::Header(operator))),
        ("bearer", SecurityScheme::Http(bearer)),
    ];
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
    }
}

fn error_response(codes: &[ErrorCode]) -> Response {
    let list: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let code = codes.first().copied().unwrap_or(ErrorCode::Internal);
    let mut object = ErrorObject::new(code, "What is wrong here, and what to do about it");
    object.source = match code {
        ErrorCode::InvalidParameter => Some(ErrorSource::Parameter("page[size]".to_owned())),
        ErrorCode::InvalidValue => Some(ErrorSource::Pointer("/data/attributes/type".to_owned())),
        _ => None,
    };
    let example = serde_json::to_value(ErrorDocument { errors: vec![object] }).ok();
    let mut content = Content::new(Some(Ref::from_schema_name("ErrorDocument")));
    content.example = example;
    ResponseBuilder::new().description(list.join("; ")).content(MEDIA_TYPE, content).build()
}

/// Adds to an operation what all of its kind share.
fn complete(path: &str, operation: &mut Operation) {
    operation.operation_id = operation.operation_id.take().map(|name| camel_case(&name));
    if !path.starts_with(BASE_PATH) {
        operation.security = Some(Vec::new());
        return;
    }
    let schemes = match path.strip_prefix(BASE_PATH).and_then(|path| path.split('/').nth(1)) {
        Some("tenants" | "overview") => vec!["operatorKey", "bearer"],
        Some("api-key") => vec!["tenantKey", "operatorKey", "bearer"],
        _ => vec!["tenantKey", "bearer"],
    };
    let needed =
        schemes.into_iter().map(|scheme| SecurityRequirement::new(scheme, std::iter::empty::<String>()));
    operation.security = Some(needed.collect());
    let roles = roles(operation.description.as_deref().unwrap_or_default());
    if !roles.is_empty() {
        operation.extensions = Some(Extensions::builder().add(ROLES, roles).build());
    }

    let media_type = if path.ends_with("/operations") {
        format!("{MEDIA_TYPE}; ext=\"{ATOMIC_EXTENSION}\"")
    } else {
        MEDIA_TYPE.to_owned()
    };
    let has_body = operation.request_body.is_some();
    // Named in words only: of bodies in two media types, openapi-python-client makes code that doesn't run, and
    // progenitor makes none.
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        let what = format!("Sent as `application/json`, or just as well as `{media_type}`");
        body.description.get_or_insert(what);
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response
            && let Some(content) = response.content.shift_remove("application/json")
        {
            response.content.insert(media_type.clone(), content);
        }
    }
    // It is there or not, but never null.
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Object(object))), .. }) = parameter
            && let SchemaType::Array(types) = &object.schema_type
            && let Some(one) = types.iter().find(|one| **one != Type::Null)
        {
            object.schema_type = one.clone().into();
        }
    }
    let parameters = operation.parameters.iter().flatten();
    let has_path = parameters.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let has_id = has_path.into_iter().any(|parameter| parameter.parameter_in == ParameterIn::Path);
    for (name, status, _) in SHARED {
        let applies = match name {
            "InvalidBody" | "Conflict" | "TooLarge" | "UnsupportedMediaType" | "Unprocessable" => has_body,
            "BadRequest" => !has_body,
            // What an operation changes may not be there.
            "NotFound" => has_id || path.ends_with("/operations"),
            _ => true,
        };
        if applies {
            let response = RefOr::Ref(Ref::from_response_name(name));
            operation.responses.responses.entry(status.to_owned()).or_insert(response);
        }
    }
}

/// The roles of which a key needs one, by the end of an operation's description. None with the operator's key, and where
/// every key will do.
fn roles(description: &str) -> Vec<&'static str> {
    let named =
        description.find("Role").or_else(|| description.find("the role")).map_or("", |at| &description[at..]);
    let needed = |role: &Role| named.contains(&format!("`{}`", role.as_str()));
    let all = [Role::Producer, Role::Consumer, Role::Admin];
    let able = all
        .iter()
        .filter(|role| all.iter().filter(|other| needed(other)).any(|needed| role.includes(*needed)));
    able.map(|role| role.as_str()).collect()
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut text, part| {
        let mut letters = part.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text.push_str(letters.as_str());
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::*;

    fn operations(document: &OpenApi) -> BTreeMap<(String, &'static str), &Operation> {
        let mut all = BTreeMap::new();
        for (path, item) in &document.paths.paths {
            let known =
                [("get", &item.get), ("post", &item.post), ("patch", &item.patch), ("delete", &item.delete)];
            for (method, operation) in known {
                if let Some(operation) = operation {
                    all.insert((path.clone(), method), operation);
                }
            }
        }
        all
    }

    #[test]
    fn openapi_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/openapi.json");
        let current = openapi().to_pretty_json().unwrap() + "\n";
        assert_eq!(current, openapi().to_pretty_json().unwrap() + "\n", "the same each time");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(&file, &current).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            kept == current,
            "openapi/openapi.json is outdated: run this test once with UPDATE_OPENAPI=1"
        );
    }

    #[test]
    fn every_route_stands_in_the_document() {
        let document = openapi();
        let described: BTreeSet<(String, &str)> = operations(&document).into_keys().collect();
        let mut routes = BTreeSet::new();
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let outside = path.ends_with("probes.rs") || path.ends_with("console.rs");
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                for method in ["get", "post", "put", "patch", "delete"] {
                    if let Some(rest) = line.strip_prefix(&format!("#[{method}(\"")) {
                        let path = rest.split('"').next().unwrap();
                        routes.insert((format!("{}{path}", if outside { "" } else { BASE_PATH }), method));
                    }
                }
            }
        }
        assert!(routes.len() > 20, "{routes:?}");
        assert_eq!(routes, described);
    }

    #[test]
    fn every_operation_is_described_with_its_errors() {
        let document = openapi();
        let mut ids = BTreeSet::new();
        for ((path, method), operation) in operations(&document) {
            let at = format!("{method} {path}");
            let id = operation.operation_id.as_deref().unwrap();
            assert!(ids.insert(id.to_owned()) && !id.contains('_'), "{at}: {id}");
            assert!(operation.summary.as_ref().is_some_and(|summary| !summary.is_empty()), "{at}");
            assert!(
                operation.tags.as_ref().is_some_and(|tags| tags.len() == 1),
                "{at}: {:?}",
                operation.tags
            );
            let responses = &operation.responses.responses;
            if path.starts_with(BASE_PATH) {
                for status in ["400", "401", "403", "406", "500", "503"] {
                    assert!(responses.contains_key(status), "{at} lacks {status}");
                }
                let names_one = path.contains('{') || path.ends_with("/operations");
                assert_eq!(responses.contains_key("404"), names_one, "{at}");
                assert_eq!(responses.contains_key("422"), operation.request_body.is_some(), "{at}");
            }
        }
    }
}
