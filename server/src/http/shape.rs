//! `include` and `fields[…]`: what of a document is shown.

use actix_web::HttpRequest;
use tidings_api::error::ErrorCode;

use super::error::Error;
use super::media;
use super::query::Parameters;
use crate::rules::document::{Related, Shape, is_field};

/// The attributes and relationships of a notification.
const FIELDS: [&str; 13] = [
    "id",
    "createdAt",
    "type",
    "isDismissed",
    "isRead",
    "isFlagged",
    "comment",
    "data",
    "change",
    "originator",
    "unit",
    "createdBy",
    "entity",
];

/// What a request that has no such parameters is shown.
pub(super) fn whole(request: &HttpRequest) -> Shape {
    Shape { strict: media::wants_strict(request.headers()), ..Shape::default() }
}

/// `include` and `fields[…]`, by the strict profile or not.
///
/// # Errors
/// 400 for relationships, types and fields that are not known.
pub(super) fn shape(parameters: &mut Parameters, strict: bool) -> Result<Shape, Error> {
    let mut shape = Shape { strict, ..Shape::default() };
    if let Some(include) = names(parameters, "include") {
        let mut related = Vec::new();
        for name in include {
            related.push(match name.as_str() {
                "createdBy" => Related::CreatedBy,
                "entity" => Related::Entity,
                other => {
                    let detail = format!("{other:?} is not one of createdBy, entity");
                    return Err(Error::parameter("include", detail));
                }
            });
        }
        shape.include = Some(related);
    }
    shape.notification = names(parameters, "fields[notification]");
    let known: Vec<&str> = if strict {
        FIELDS.into_iter().filter(|field| is_field(field)).chain(["eventType"]).collect()
    } else {
        FIELDS.to_vec()
    };
    let fields = shape.notification.iter().flatten();
    if let Some(unknown) = fields.into_iter().find(|field| !known.contains(&field.as_str())) {
        let detail = format!("{unknown:?} is no field of a notification; known are {}", known.join(", "));
        return Err(Error::parameter("fields[notification]", detail));
    }
    shape.user = names(parameters, "fields[user]");
    shape.entity = names(parameters, "fields[entity]");
    if let Some((name, _)) = parameters.pairs().iter().find(|(name, _)| name.starts_with("fields[")) {
        let detail = "the types are notification, user and entity";
        return Err(Error::new(ErrorCode::UnknownParameter, detail).of_parameter(name));
    }
    Ok(shape)
}

/// A comma list that may be empty.
pub(super) fn names(parameters: &mut Parameters, name: &str) -> Option<Vec<String>> {
    let text = parameters.take(name)?;
    Some(text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect())
}
