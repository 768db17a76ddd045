//! The page at `/docs/`, for whoever writes a client or a receiver, and the way to the page where calls can be tried.
//!
//! The text is a file of `server/docs`; the profiles and the error codes are put into it from the lists that the server
//! itself goes by, and the examples name the address at which it was asked. Nothing here needs a key, and nothing is part
//! of the interface that it describes: no client is generated for a page.

use std::fmt::Write as _;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde_json::Value;
use tidings_api::BASE_PATH;
use tidings_api::error::ErrorCode;

use super::error::Error;
use super::{State, base, console};
use crate::rules::settings::profiles;

/// What stands in the text for the address of the server.
const ADDRESS: &str = "http://127.0.0.1:8080";

/// What the page loads, besides files of the console.
const FILES: [(&str, &[u8]); 2] =
    [("docs.css", include_bytes!("../../docs/docs.css")), ("docs.js", include_bytes!("../../docs/docs.js"))];

/// The page with its lists, before it knows the address.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("../../docs/index.html")
        .replace("<!-- profiles -->\n", &profile_rows())
        .replace("<!-- errors -->\n", &error_rows())
});

/// Where the pages are, but for the one where calls can be tried.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/docs/api", web::get().to(async || moved("api/")))
        .route("/docs/", web::get().to(page))
        .route("/docs/{file}", web::get().to(file));
}

/// The documentation itself.
async fn page(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let links = base(&state, &request);
    let address = links.strip_suffix(BASE_PATH).unwrap_or(ADDRESS);
    let text = PAGE.replace(ADDRESS, &escaped(address));
    console::page(&request, &console::tag(text.as_bytes()), "index.html", Bytes::from(text))
}

/// What the page loads.
async fn file(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Error> {
    if *name == "index.html" {
        return Ok(moved("./"));
    }
    let found = FILES.iter().find(|(known, _)| *known == *name);
    let (name, content) = found.ok_or_else(|| Error::not_found("file"))?;
    Ok(console::page(&request, &console::tag(content), name, Bytes::from_static(content)))
}

/// Relative, so that it is right below any path of a proxy.
fn moved(to: &'static str) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, to)).finish()
}

fn error_rows() -> String {
    ErrorCode::ALL.iter().fold(String::new(), |mut rows, code| {
        let (name, status, title) = (code.as_str(), code.status(), code.title());
        let _never_fails = writeln!(
            rows,
            "<tr id=\"error-{name}\"><th scope=\"row\"><code>{name}</code></th><td>{status}</td><td>{}</td></tr>",
            escaped(title)
        );
        rows
    })
}

fn profile_rows() -> String {
    profiles().iter().fold(String::new(), |mut rows, (name, settings)| {
        let mut leaves = String::new();
        put_leaves("", settings, &mut leaves);
        let differs =
            if leaves.is_empty() { "the defaults".to_owned() } else { format!("<ul>{leaves}</ul>") };
        let _never_fails = writeln!(
            rows,
            "<tr id=\"profile-{name}\"><th scope=\"row\"><code>{name}</code></th><td>{differs}</td></tr>"
        );
        rows
    })
}

/// Every setting on a line of its own. What has a `kind` is one setting.
fn put_leaves(path: &str, value: &Value, into: &mut String) {
    match value.as_object().filter(|members| !members.contains_key("kind")) {
        Some(members) => {
            for (name, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                put_leaves(&format!("{path}{dot}{name}"), value, into);
            }
        }
        None => {
            let _never_fails =
                write!(into, "<li><code>{path}</code> <code>{}</code></li>", escaped(&value.to_string()));
        }
    }
}

/// Text as it may stand in a page.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_of_the_page_is_filled_from_what_the_server_goes_by() {
        assert!(!PAGE.contains("<!--"), "a list is missing");
        for code in ErrorCode::ALL {
            let row = format!("<code>{}</code></th><td>{}</td>", code.as_str(), code.status());
            assert_eq!(PAGE.matches(&row).count(), 1, "{row}");
        }
        for name in profiles().keys() {
            assert_eq!(PAGE.matches(&format!("<tr id=\"profile-{name}\">")).count(), 1, "{name}");
        }
        // One setting of each depth.
        assert!(PAGE.contains("<code>push.autoDismiss</code> <code>true</code>"));
        assert!(PAGE.contains("<code>push.retry</code> <code>{&quot;kind&quot;:&quot;none&quot;}</code>"));
        assert!(PAGE.contains("<code>payload.detail</code> <code>&quot;thin&quot;</code>"));
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_has_no_script_or_style_of_its_own() {
        for loads in ["src=\"http", "src=\"//", "<style", " style=", " on"] {
            let found = PAGE.split('<').skip(1).find_map(|tag| {
                let tag = format!("<{}", tag.split('>').next().unwrap_or_default());
                tag.contains(loads).then_some(tag)
            });
            assert_eq!(found, None);
        }
        assert!(PAGE.split("<script").skip(1).all(|script| script.contains("src=\"docs.js\"></script>")));
        for (name, content) in FILES {
            let text = std::str::from_utf8(content).unwrap();
            assert!(
                !text.contains("http") && !text.contains("@import") && !text.contains("innerHTML"),
                "{name}"
            );
        }
    }
}
