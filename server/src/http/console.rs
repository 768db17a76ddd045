//! The console: the pages for people, embedded in the binary.
//!
//! They are plain files of `server/console`, served as they are. What they show comes from the public interface, asked
//! by the browser with the key that the user gives; nothing here knows a tenant. The policy lets a page load and reach
//! nothing but this server, and run no script but these files.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, get, web};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;

use super::error::Error;

/// What a page may load and do. Images may be data: a browser's own form controls are.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
                      data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file as it is served.
struct File {
    name: &'static str,
    content: &'static [u8],
    /// What its content is called: the same content, the same tag.
    tag: String,
}

/// Embeds files of `server/console`.
macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../../console/", $name)).as_slice()),)*]
    };
}

/// Every file, the page itself first.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let files = files! {
        "index.html" "app.css" "icon.svg"
        "actions.js" "api.js" "chart.js" "columns.js" "dom.js" "fields.js" "filters.js" "form.js" "icons.js" "json.js" "login.js"
        "main.js" "notification.js" "notifications.js" "overview.js" "parts.js" "post.js" "queue.js" "router.js" "row.js"
        "settings.js" "tail.js" "tenants.js" "time.js" "trial.js" "views.js" "words.js"
    };
    files.into_iter().map(|(name, content)| File { name, content, tag: tag(content) }).collect()
});

/// The console
///
/// Pages to look at and to work with everything that this interface offers, with a key that the user gives.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "A page", body = String, content_type = "text/html"))
)]
#[get("/")]
pub(super) async fn console(request: HttpRequest) -> Result<HttpResponse, Error> {
    serve(&request, "index.html")
}

/// A part of the console
///
/// Its script, style and pictures.
#[utoipa::path(
    tag = "server",
    params(("file" = String, Path, description = "The name of the file", example = "main.js")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/javascript"),
        (status = 404, description = "There is no such file", body = tidings_api::error::ErrorDocument,
            content_type = "application/vnd.api+json"),
    )
)]
#[get("/console/{file}")]
pub(super) async fn console_file(
    request: HttpRequest,
    file: web::Path<String>,
) -> Result<HttpResponse, Error> {
    serve(&request, &file)
}

fn serve(request: &HttpRequest, name: &str) -> Result<HttpResponse, Error> {
    let file = FILES.iter().find(|file| file.name == name).ok_or_else(|| Error::not_found("file"))?;
    Ok(page(request, &file.tag, name, Bytes::from_static(file.content)))
}

/// What its content is called: the same content, the same tag.
pub(super) fn tag(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(digest))
}

/// Answers with a file for people, unless the browser has it already.
pub(super) fn page(request: &HttpRequest, tag: &str, name: &str, content: Bytes) -> HttpResponse {
    let known = request.headers().get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    let unchanged = known.any(|known| known == tag || known == "*");
    let mut answer = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::ETAG, tag))
        // Asked for again each time, so that a new version of the server is a new version of the console.
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if unchanged { answer.finish() } else { answer.content_type(content_type(name)).body(content) }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use actix_web::App;
    use actix_web::http::StatusCode;
    use actix_web::test::{TestRequest, call_service, init_service, read_body};

    use super::*;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.content).unwrap()
    }

    #[test]
    fn every_file_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let found =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let embedded = FILES.iter().map(|file| file.name.to_owned());
        assert_eq!(found.collect::<BTreeSet<String>>(), embedded.collect());
    }

    #[test]
    fn what_a_file_loads_is_embedded_and_nothing_comes_from_elsewhere() {
        let names: BTreeSet<&str> = FILES.iter().map(|file| file.name).collect();
        let mut loaded = 0;
        for file in FILES.iter() {
            for line in text(file).lines() {
                if let Some((_, from)) = line.split_once(" from \"./").filter(|_| file.name.ends_with(".js"))
                {
                    let name = from.split('"').next().unwrap();
                    assert!(names.contains(name), "{} imports {name}", file.name);
                    loaded += 1;
                }
                for part in line.split(['"', '\'']).filter(|part| part.starts_with("console/")) {
                    assert!(names.contains(&part["console/".len()..]), "{} loads {part}", file.name);
                    loaded += 1;
                }
                for foreign in ["src=\"http", "href=\"http", "url(http", "@import", "from \"http", "src=\"//"]
                {
                    assert!(!line.contains(foreign), "{}: {line}", file.name);
                }
            }
        }
        assert!(loaded > 30, "only {loaded} found: are they written otherwise now?");
    }

    #[test]
    fn what_was_sent_never_becomes_html() {
        for file in FILES.iter() {
            let forbidden = [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "DOMParser",
                "new Function",
            ];
            for name in forbidden {
                assert!(!text(file).contains(name), "{} has {name}", file.name);
            }
        }
        let page = text(&FILES[0]);
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onclick="));
        assert!(page.split("<script").skip(1).all(|script| script.contains("src=\"console/")));
    }

    #[actix_web::test]
    async fn a_file_comes_once_and_with_its_policy() {
        let app = init_service(App::new().service(console).service(console_file)).await;
        for (path, content_type) in [
            ("/", "text/html; charset=utf-8"),
            ("/console/main.js", "text/javascript; charset=utf-8"),
            ("/console/app.css", "text/css; charset=utf-8"),
            ("/console/icon.svg", "image/svg+xml"),
        ] {
            let answer = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(header("content-type"), Some(content_type), "{path}");
            assert_eq!(header("cache-control"), Some("no-cache"), "{path}");
            assert_eq!(header("x-content-type-options"), Some("nosniff"), "{path}");
            assert_eq!(header("referrer-policy"), Some("no-referrer"), "{path}");
            assert!(header("content-security-policy").unwrap().starts_with("default-src 'none'; "), "{path}");
            let tag = header("etag").unwrap().to_owned();
            assert!(!read_body(answer).await.is_empty(), "{path}");
            for known in [tag.clone(), format!("\"other\", W/{tag}")] {
                let again = TestRequest::get().uri(path).insert_header(("if-none-match", known)).to_request();
                let answer = call_service(&app, again).await;
                assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{path}");
                assert!(read_body(answer).await.is_empty(), "{path}");
            }
            let other =
                TestRequest::get().uri(path).insert_header(("if-none-match", "\"other\"")).to_request();
            assert_eq!(call_service(&app, other).await.status(), StatusCode::OK, "{path}");
        }
        for path in ["/console/", "/console/none.js", "/console/..%2Fsrc%2Flib.rs"] {
            let answer = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
