//! The page at `/docs/`: its examples are run as they stand there, in their own languages; its links lead somewhere; and
//! it looks well to whoever sees it, and to whoever doesn't.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::{Browser, Database, Kind, Receiver, Reply, Screen, Server, Tenant, until};

/// A server, and its page.
struct Reader {
    server: Server,
    tenant: Tenant,
    page: String,
    database: Database,
}

impl Reader {
    fn new() -> Self {
        let database = Database::new(Kind::Sqlite);
        let server = Server::start(&database);
        let tenant = server.tenant("Acme");
        let page = server.anonymous().get("/docs/").text;
        Reader { server, tenant, page, database }
    }

    /// The examples that are marked so, as a reader copies them.
    fn examples(&self, mark: &str) -> Vec<String> {
        let begin = format!("<pre class=\"code\" {mark}><code>");
        let found = self.page.split(&begin).skip(1);
        let code = found.map(|rest| rest.split("</code></pre>").next().unwrap());
        let read = |text: &str| {
            let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            text.replace("&amp;", "&")
        };
        code.map(read).collect()
    }

    /// Runs a program in an empty directory, with the keys in its environment.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.database.dir())
            .envs([
                ("PRODUCER", self.tenant.producer.key()),
                ("CONSUMER", self.tenant.consumer.key()),
                ("ADMIN", self.tenant.admin.key()),
            ])
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}: is it installed?"));
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// Runs the one example of a language, kept in a file of this name.
    fn run_example(&self, language: &str, file: &str, program: &str, arguments: &[&str]) -> String {
        let examples = self.examples(&format!("data-run=\"{language}\""));
        assert_eq!(examples.len(), 1, "{language}");
        std::fs::write(self.database.dir().join(file), &examples[0]).unwrap();
        let stdout = self.run(program, &[arguments, &[file]].concat());
        let stored = self.tenant.consumer.get("notifications/1").expect(200);
        let comment = stored["data"]["attributes"]["comment"].as_str().unwrap().to_lowercase();
        assert_eq!(comment, format!("from {language}"));
        stdout
    }

    /// Whether nothing is left that isn't dismissed.
    fn has_dismissed_all(&self) -> bool {
        self.tenant.consumer.get("notifications").expect(200)["data"] == json!([])
    }
}

#[test]
fn the_examples_for_curl_work_as_they_are_copied() {
    let reader = Reader::new();
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let examples = reader.examples("data-run=\"curl\"");
    assert!(examples.len() >= 6, "there are examples");
    for example in &examples {
        let stdout =
            reader.run("sh", &["-c", &example.replace("https://archive.example.com/hook", &receiver.url())]);
        let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{example}: {stdout}"));
        assert!(answer["errors"].is_null() && !answer["data"].is_null(), "{example}: {answer}");
    }
    let consumer = &reader.tenant.consumer;
    assert_eq!(
        consumer.get("notifications/1").expect(200)["data"]["attributes"]["isDismissed"],
        json!(true),
        "the first one was dismissed"
    );
    let again = examples.iter().find(|example| example.contains("idempotency-key")).unwrap();
    let again: Value = serde_json::from_str(&reader.run("sh", &["-c", again])).unwrap();
    assert_eq!(again["data"]["id"], "2", "it was not stored twice");
    consumer.get("notifications/3").expect(404);
    reader.tenant.producer.post_event(&tidings_tests::event("close"));
    until("a push to the URL that was set", Duration::from_secs(20), || (receiver.count() > 0).then_some(()));
}

#[test]
fn the_example_for_python_works_as_it_is_copied() {
    let reader = Reader::new();
    assert_eq!(reader.run_example("python", "start.py", "python3", &[]), "1 close\n");
    assert!(reader.has_dismissed_all());
}

#[test]
fn the_example_for_typescript_works_as_it_is_copied() {
    let reader = Reader::new();
    // It has no annotations, so it is JavaScript as well.
    assert_eq!(reader.run_example("typescript", "start.mjs", "node", &[]), "1 close\n");
    assert!(reader.has_dismissed_all());
}

#[test]
fn the_example_for_java_works_as_it_is_copied() {
    let reader = Reader::new();
    let printed: Value =
        serde_json::from_str(&reader.run_example("java", "Start.java", "java", &[])).unwrap();
    assert_eq!(printed["data"][0]["attributes"]["comment"], "From Java");
}

#[test]
fn the_example_for_go_works_as_it_is_copied() {
    let reader = Reader::new();
    assert_eq!(reader.run_example("go", "start.go", "go", &["run"]), "1 close\n");
    assert!(reader.has_dismissed_all());
}

#[test]
fn the_example_for_rust_is_the_one_of_the_readme() {
    let reader = Reader::new();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let here = reader.server.url();
    for example in reader.examples("data-same-as=\"README.md\"") {
        let example = example.replace(&here, "http://127.0.0.1:8080");
        assert!(readme.contains(&example), "{example}");
    }
}

#[test]
fn the_example_of_an_error_is_what_is_answered() {
    let reader = Reader::new();
    let [example] = reader.examples("data-answer=\"\"").try_into().unwrap();
    let no_type = json!({"data": {"type": "notification", "attributes": {}}});
    let answer = reader.tenant.producer.post("notifications", &no_type).expect(422);
    assert_eq!(serde_json::from_str::<Value>(&example).unwrap(), answer);
}

#[test]
fn links_from_before_lead_to_where_calls_can_be_tried() {
    let reader = Reader::new();
    let (url, anonymous) = (reader.server.url(), reader.server.anonymous());
    let policy = anonymous.get("/docs/").header("content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
    for path in ["/docs", "/docs/index.html"] {
        let answer = anonymous.get(path);
        assert!(answer.status == 200 && answer.text == reader.page, "{path}: {answer}");
    }
    assert_eq!(anonymous.get("/docs/none.css").status, 404);
    let browser = Browser::start(Screen::DESKTOP);
    for (path, shown) in [
        ("/docs/#/notifications", ".swagger-ui .opblock-tag"),
        ("/docs/api", ".swagger-ui .opblock-tag"),
        ("/docs", "#what"),
    ] {
        browser.open("about:blank");
        browser.open(&format!("{url}{path}"));
        browser.see(shown);
    }
}

#[test]
fn every_link_leads_somewhere_and_nothing_comes_from_elsewhere() {
    let reader = Reader::new();
    let browser = Browser::start(Screen::DESKTOP);
    browser.open(&format!("{}/docs/", reader.server.url()));
    browser.see("#errors");
    // What the policy kept from running or loading would be missing.
    browser.see(".copy");
    let broken = browser.asynchronous(
        "const done = arguments[arguments.length - 1];
         const ask = async (link) => {
             const url = new URL(link.href);
             if (url.origin !== location.origin) return url.protocol === 'https:' ? null : link.href;
             if (url.pathname === location.pathname) {
                 return document.getElementById(url.hash.slice(1)) ? null : link.href;
             }
             return (await fetch(url)).ok ? null : link.href;
         };
         Promise.all([...document.links].map(ask)).then((found) => done(found.filter(Boolean)), (error) => done(String(error)));",
        &[],
    );
    assert_eq!(broken, json!([]));
    let loaded =
        browser.script("return performance.getEntriesByType('resource').map((one) => one.name)", &[]);
    let loaded = loaded.as_array().unwrap();
    assert!(loaded.len() >= 4, "its own files are among them: {loaded:?}");
    let elsewhere = loaded.iter().find(|name| !name.as_str().unwrap().starts_with(&reader.server.url()));
    assert_eq!(elsewhere, None);
}

#[test]
fn axe_finds_no_serious_fault_and_it_fits_a_phone() {
    let reader = Reader::new();
    let browser = Browser::start(Screen::DESKTOP);
    for (size, screen) in [("a desk", Screen::DESKTOP), ("a phone", Screen::PHONE)] {
        for (time, screen) in [("day", screen), ("night", screen.dark())] {
            browser.resize(screen);
            browser.open(&format!("{}/docs/", reader.server.url()));
            browser.see("#errors");
            browser.check_accessibility(&format!("the documentation by {time} at {size}"));
            let over = browser.script("return document.documentElement.scrollWidth - innerWidth", &[]);
            assert!(over.as_f64().is_some_and(|over| over <= 0.0), "it is {over} pixels wider than {size}");
        }
    }
    browser.resize(Screen::DESKTOP);
    if let Some(folder) = std::env::var_os("TIDINGS_SCREENSHOTS") {
        browser.open(&format!("{}/docs/", reader.server.url()));
        browser.see("#errors");
        browser.screenshot(&Path::new(&folder).join("docs.png"));
    }
}
