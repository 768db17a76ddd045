//! Media types, by the rules of JSON:API: what a body may be, and in what an answer may be written.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use tidings_api::error::ErrorCode;
use tidings_api::{ATOMIC_EXTENSION, MEDIA_TYPE, STRICT_PROFILE};

use super::error::Error;

/// A media type or range with its parameters.
struct Media {
    essence: String,
    parameters: Vec<(String, String)>,
}

impl Media {
    fn parse(text: &str) -> Media {
        let mut parts = split(text, b';').into_iter();
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let parameters = parts
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
            })
            .collect();
        Media { essence, parameters }
    }

    /// Whether it is JSON:API with nothing but profiles and the extensions that the server knows.
    fn is_plain_jsonapi(&self) -> bool {
        self.parameters.iter().all(|(name, value)| match name.as_str() {
            "profile" | "q" => true,
            "ext" => value.split_whitespace().all(|uri| uri == ATOMIC_EXTENSION),
            _ => false,
        })
    }

    /// Whether the strict profile is among those that it names.
    fn is_strict(&self) -> bool {
        self.essence == MEDIA_TYPE
            && self.parameters.iter().any(|(name, value)| {
                name == "profile" && value.split_whitespace().any(|uri| uri == STRICT_PROFILE)
            })
    }

    fn weight(&self) -> f32 {
        let weight = self.parameters.iter().find(|(name, _)| name == "q");
        weight.and_then(|(_, value)| value.parse().ok()).unwrap_or(1.0)
    }
}

/// The parts between separators that don't stand in quotes.
fn split(text: &str, separator: u8) -> Vec<&str> {
    let mut quoted = false;
    text.split(|character| {
        quoted ^= character == '"';
        character == char::from(separator) && !quoted
    })
    .collect()
}

/// Whether a body is in a media type that the server reads. `atomic`: with the extension for operations.
///
/// # Errors
/// 415 when it isn't.
pub(super) fn check_body(headers: &HeaderMap, atomic: bool) -> Result<(), Error> {
    let refuse =
        |detail: String| Err(Error::new(ErrorCode::UnsupportedMediaType, detail).of_header("Content-Type"));
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return refuse("send the body without Content-Encoding".to_owned());
    }
    let expected =
        if atomic { format!("{MEDIA_TYPE}; ext=\"{ATOMIC_EXTENSION}\"") } else { MEDIA_TYPE.to_owned() };
    let Some(given) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return refuse(format!("the body needs a Content-Type: application/json or {expected}"));
    };
    // The one that nearly all send costs nothing.
    if given == "application/json" {
        return Ok(());
    }
    let media = Media::parse(given);
    let fits = match media.essence.as_str() {
        "application/json" => true,
        MEDIA_TYPE => {
            let extended = media.parameters.iter().any(|(name, _)| name == "ext");
            let weighted = media.parameters.iter().any(|(name, _)| name == "q");
            media.is_plain_jsonapi() && extended == atomic && !weighted
        }
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        refuse(format!("{given} can't be read here; application/json and {expected} can"))
    }
}

/// Whether an answer may be written as JSON:API.
///
/// # Errors
/// 406 when it may not.
pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), Error> {
    let (mut jsonapi, mut plain, mut other, mut any) = (false, false, false, false);
    for value in headers.get_all(header::ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        if value == "*/*" || value == MEDIA_TYPE {
            return Ok(());
        }
        for range in split(value, b',').into_iter().filter(|range| !range.trim().is_empty()) {
            any = true;
            let media = Media::parse(range);
            if media.weight() <= 0.0 {
                continue;
            }
            match media.essence.as_str() {
                MEDIA_TYPE => {
                    jsonapi = true;
                    plain |= media.is_plain_jsonapi();
                }
                "application/json" | "application/*" | "*/*" => other = true,
                _ => {}
            }
        }
    }
    // JSON:API: where it is named at all, one instance must be without parameters that are not known.
    if !any || plain || (other && !jsonapi) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::NotAcceptable, format!("answers are written as {MEDIA_TYPE}"))
        .of_header("Accept"))
}

/// Whether an answer is to be written by the strict profile: where the client likes no other way better.
pub(super) fn wants_strict(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    let (mut strict, mut other) = (0.0_f32, 0.0_f32);
    // Nearly nobody asks for it, and those who don't pay nothing.
    for value in values.filter(|value| value.contains("profile")) {
        for media in split(value, b',').into_iter().map(Media::parse) {
            match media.essence.as_str() {
                MEDIA_TYPE if !media.is_plain_jsonapi() => {}
                MEDIA_TYPE if media.is_strict() => strict = strict.max(media.weight()),
                MEDIA_TYPE | "application/json" => other = other.max(media.weight()),
                _ => {}
            }
        }
    }
    strict > 0.0 && strict >= other
}

/// The media type of an answer that is written by the strict profile; none if it isn't JSON:API.
pub(super) fn by_profile(written: &HeaderValue) -> Option<HeaderValue> {
    let written = written.to_str().ok().filter(|written| written.starts_with(MEDIA_TYPE))?;
    HeaderValue::from_str(&format!("{written}; profile=\"{STRICT_PROFILE}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn bodies_are_json_or_plain_jsonapi() {
        let check =
            |value: &str, atomic| check_body(&headers(header::CONTENT_TYPE, &[value]), atomic).is_ok();
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
            "application/vnd.api+json; profile=\"http://a/;b http://c/\"",
        ] {
            assert!(check(good, false), "{good}");
        }
        for bad in [
            "text/plain",
            "",
            "application/xml",
            "application/vnd.api+json; charset=utf-8",
            "application/vnd.api+json; q=1",
            "application/vnd.api+json; ext=\"https://jsonapi.org/ext/atomic\"",
            "application/vnd.api+json; ext=\"https://example.com/other\"",
        ] {
            assert!(!check(bad, false), "{bad}");
        }
        assert!(check("application/vnd.api+json;ext=\"https://jsonapi.org/ext/atomic\"", true));
        assert!(check("application/json", true));
        assert!(!check("application/vnd.api+json", true), "operations need the extension");
        assert!(check_body(&HeaderMap::new(), false).is_err());
        let mut packed = headers(header::CONTENT_TYPE, &["application/json"]);
        packed.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check_body(&packed, false).is_err());
    }

    #[test]
    fn the_strict_profile_is_for_who_asks_for_it() {
        let wants = |values: &[&str]| wants_strict(&headers(header::ACCEPT, values));
        let strict = format!("application/vnd.api+json;profile=\"{STRICT_PROFILE}\"");
        for yes in [
            &[strict.as_str()][..],
            &[&format!("application/vnd.api+json; profile=\"http://a/ {STRICT_PROFILE}\"")],
            &[&format!("{strict}, application/vnd.api+json")],
            &["text/html", &format!("*/*;q=0.1, {strict};q=0.5")],
            &[&format!("{strict}; ext=\"{ATOMIC_EXTENSION}\"")],
        ] {
            assert!(wants(yes), "{yes:?}");
        }
        for no in [
            &[][..],
            &["application/vnd.api+json"],
            &["application/vnd.api+json; profile=\"http://a/\""],
            &[&format!("{strict};q=0")],
            &[&format!("{strict};q=0.5, application/vnd.api+json;profile=\"http://a/\"")],
            &[&format!("{strict};q=0.5, application/json")],
            &[&format!("application/json;profile=\"{STRICT_PROFILE}\"")],
            &[&format!("{strict}; charset=utf-8")],
        ] {
            assert!(!wants(no), "{no:?}");
        }
    }

    #[test]
    fn answers_are_jsonapi() {
        let check = |values: &[&str]| check_accept(&headers(header::ACCEPT, values)).is_ok();
        for good in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html, application/*;q=0.8"],
            &["application/json"],
            &["application/vnd.api+json"],
            &["application/vnd.api+json; charset=utf-8, application/vnd.api+json"],
            &["application/vnd.api+json; ext=\"https://jsonapi.org/ext/atomic\""],
            &["text/html", "application/json"],
            &["text/html;a=\",\", */*;q=0.1"],
        ] {
            assert!(check(good), "{good:?}");
        }
        for bad in [
            &["text/html"][..],
            &["application/vnd.api+json; charset=utf-8"],
            &["application/vnd.api+json; charset=utf-8, */*"],
            &["application/vnd.api+json; ext=\"https://example.com/other\""],
            &["application/json;q=0"],
        ] {
            assert!(!check(bad), "{bad:?}");
        }
    }
}
