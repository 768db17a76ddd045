//! A new user's first minutes: the program without arguments makes everything it needs, once, and says what to do.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_tests::program::{ended, text};
use tidings_tests::server::command;
use tidings_tests::{Api, Database, Kind, Receiver, event, ports, until};

/// The program in an empty directory, as a newcomer starts it, but for the port.
struct FirstRun {
    child: std::process::Child,
    url: String,
    log: std::path::PathBuf,
}

impl FirstRun {
    fn start(dir: &Path, port: u16, name: &str) -> Self {
        let log = dir.join(name);
        let file = fs::File::create(&log).unwrap();
        let child = command()
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .current_dir(dir)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let run = FirstRun { child, url: format!("http://127.0.0.1:{port}"), log };
        let api = Api::new(&run.url, None);
        until("the first start", Duration::from_secs(60), || {
            api.try_send("GET", "/readyz", &[], None).ok().filter(|answer| answer.status == 200)
        });
        run
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for FirstRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The commands to paste: every line that begins with `curl`, with its continuation lines.
fn curl_lines(printed: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut continued = false;
    for line in printed.lines().map(str::trim) {
        if continued {
            let command = commands.last_mut().unwrap();
            command.push('\n');
            command.push_str(line);
        } else if line.starts_with("curl ") {
            commands.push(line.to_owned());
        } else {
            continue;
        }
        continued = line.ends_with('\\');
    }
    commands
}

/// The word that looks like a secret on the line that names this.
fn secret_after(printed: &str, name: &str) -> String {
    printed
        .lines()
        .filter(|line| line.to_lowercase().contains(name) && !line.contains("curl"))
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_matches(['"', '\'', ',', ':']))
        .find(|word| word.len() >= 24 && !word.contains('/'))
        .unwrap_or_else(|| panic!("no {name} key in:\n{printed}"))
        .to_owned()
}

fn paste(line: &str) -> Value {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", text(&output));
    let body = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{line} answered {body:?}: {error}"))
}

#[test]
fn the_first_start_prints_keys_and_lines_that_work_and_the_second_makes_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let port = ports::free();
    let first = FirstRun::start(dir.path(), port, "first.log");
    assert!(dir.path().join("tidings.db").is_file(), "no ./tidings.db");
    let printed = first.printed();
    assert!(printed.contains("whsec_"), "no signing secret in:\n{printed}");

    let keys = ["producer", "consumer", "admin"].map(|role| secret_after(&printed, role));
    let api = Api::new(&first.url, None);
    let status = |key: &str, method: &str, path: &str, body: Option<&[u8]>| {
        api.with_key(key).send(method, path, &[], body).status
    };
    let [producer, consumer, admin] = &keys;
    assert_eq!(status(producer, "GET", "notifications", None), 403);
    assert_eq!(status(consumer, "GET", "notifications", None), 200);
    assert_eq!(status(consumer, "GET", "external-notifications", None), 403);
    assert_eq!(status(admin, "GET", "external-notifications", None), 200);

    let lines = curl_lines(&printed);
    assert_eq!(lines.len(), 3, "three lines to paste in:\n{printed}");
    let posted = paste(&lines[0]);
    assert_eq!(posted["data"]["id"], "1", "{posted}");
    let read = paste(&lines[1]);
    assert!(read.to_string().contains(r#""id":"1""#), "{read}");
    let dismissed = paste(&lines[2]);
    assert_eq!(dismissed["data"]["attributes"]["isDismissed"], true, "{dismissed}");
    drop(first);

    let second = FirstRun::start(dir.path(), port, "second.log");
    let printed_again = second.printed();
    for key in &keys {
        assert!(!printed_again.contains(key.as_str()), "a key was printed again");
    }
    assert!(!printed_again.contains("whsec_"), "a secret was printed:\n{printed_again}");
    assert!(curl_lines(&printed_again).is_empty(), "the second start greets again:\n{printed_again}");
    let kept = api.with_key(consumer).get("notifications/1").expect(200);
    assert_eq!(kept["data"]["attributes"]["isDismissed"], true);

    let operator = secret_after(&printed, "operator");
    assert!(!printed_again.contains(&operator));
    let tenants = api.with_key(&operator).get("tenants").expect(200);
    assert_eq!(tenants["data"].as_array().unwrap().len(), 1, "{tenants}");
}

#[test]
fn a_database_url_of_an_unknown_kind_is_refused_and_leaves_no_file() {
    for url in ["mysql://localhost/x", "typo-name", "sqlte:./x.db", "", "sqlite:"] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = command();
        let port = ports::free();
        server
            .args(["--listen", &format!("127.0.0.1:{port}"), "--database-url", url])
            .current_dir(dir.path());
        let output = ended(server);
        assert!(!output.status.success(), "{url:?} was taken");
        let said = text(&output);
        assert!(said.contains("sqlite:"), "{url:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.is_empty(), "{url:?} left {files:?}");
    }
}

#[test]
fn an_unreachable_postgres_ends_with_a_clear_message_and_without_its_password() {
    let mut server = command();
    let port = ports::free();
    let dir = tempfile::tempdir().unwrap();
    server
        .args([
            "--database-url",
            &format!("postgres://someone:hunter2secret@127.0.0.1:{port}/none"),
            "migrate",
        ])
        .env("TIDINGS_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .current_dir(dir.path());
    let output = ended(server);
    assert!(!output.status.success());
    let said = text(&output);
    assert!(said.to_lowercase().contains("connect"), "{said}");
    assert!(!said.contains("hunter2secret"), "the password was printed: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn migrate_prepares_the_database_and_ends_well_each_time() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let database = Database::new(kind);
        for _ in 0..2 {
            let mut migrate = command();
            migrate
                .args(["--database-url", database.url(), "migrate"])
                .env("TIDINGS_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
                .current_dir(database.dir());
            let output = ended(migrate);
            assert!(output.status.success(), "{}", text(&output));
        }
        if kind == Kind::Postgres {
            let tables = tidings_tests::database::psql_at(
                database.url(),
                "SELECT count(*) FROM information_schema.tables WHERE table_name = 'notifications'",
            );
            assert_eq!(tables, "1");
        } else {
            assert!(database.dir().join("tidings.db").is_file());
        }
    }
}

#[test]
fn config_prints_what_is_in_force_with_secrets_masked() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = command();
    config
        .args([
            "--database-url",
            "postgres://someone:hunter2secret@db.example/tidings",
            "--listen",
            "127.0.0.1:9999",
        ])
        .args(["--allow-egress", "10.1.0.0/16", "config"])
        .env("TIDINGS_OPERATOR_KEY", "an-operator-key-that-stays-secret")
        .env("TIDINGS_SECRET_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .current_dir(dir.path());
    let output = ended(config);
    assert!(output.status.success(), "{}", text(&output));
    let printed = text(&output);
    for shown in ["127.0.0.1:9999", "10.1.0.0/16", "db.example/tidings"] {
        assert!(printed.contains(shown), "{shown} is missing in:\n{printed}");
    }
    for secret in
        ["hunter2secret", "an-operator-key-that-stays-secret", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]
    {
        assert!(!printed.contains(secret), "{secret} stands in:\n{printed}");
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "config made a file");
}

#[test]
fn a_flag_wins_over_the_environment_and_the_environment_over_the_default() {
    let config = |arguments: &[&str], listen: Option<&str>| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = command();
        config.args(arguments).arg("config").current_dir(dir.path());
        if let Some(listen) = listen {
            config.env("TIDINGS_LISTEN", listen);
        }
        let output = ended(config);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(config(&[], None).contains("127.0.0.1:8080"));
    assert!(config(&[], Some("127.0.0.1:7001")).contains("127.0.0.1:7001"));
    let both = config(&["--listen", "127.0.0.1:7002"], Some("127.0.0.1:7001"));
    assert!(both.contains("127.0.0.1:7002") && !both.contains("127.0.0.1:7001"), "{both}");
}

#[test]
fn openapi_is_printed_without_touching_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let mut openapi = command();
    openapi.arg("openapi").current_dir(dir.path());
    let output = ended(openapi);
    assert!(output.status.success(), "{}", text(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "openapi made a file");
}

#[test]
fn listening_beyond_loopback_needs_a_long_operator_key() {
    for key in [None, Some("too-short")] {
        let dir = tempfile::tempdir().unwrap();
        let mut server = command();
        server.args(["--listen", &format!("0.0.0.0:{}", ports::free())]).current_dir(dir.path());
        if let Some(key) = key {
            server.env("TIDINGS_OPERATOR_KEY", key);
        }
        let output = ended(server);
        assert!(!output.status.success(), "an open server without a good operator key");
        let said = text(&output);
        assert!(said.contains("operator") && said.contains("24"), "{said}");
        assert!(!said.contains("too-short"), "{said}");
    }
}

#[test]
fn postgres_without_a_secret_key_is_refused() {
    let database = Database::new(Kind::Postgres);
    let mut server = command();
    let listen = format!("127.0.0.1:{}", ports::free());
    server.args(["--listen", &listen, "--database-url", database.url()]).current_dir(database.dir());
    let output = ended(server);
    assert!(!output.status.success());
    assert!(
        text(&output).contains("secret-key") || text(&output).contains("SECRET_KEY"),
        "{}",
        text(&output)
    );
}

/// The word behind a label in what was printed.
fn shown(printed: &str, label: &str) -> String {
    let line = printed
        .lines()
        .find(|line| line.trim_start().starts_with(label))
        .unwrap_or_else(|| panic!("{printed}"));
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn the_first_tenant_may_be_pushed_to_on_loopback_only_while_the_server_listens_there() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::accepting();
    let port = ports::free();
    let run = FirstRun::start(dir.path(), port, "first.log");
    let printed = run.printed();
    let key = |label: &str| Api::new(&run.url, Some(&shown(&printed, label)));
    let (producer, admin) = (key("producer"), key("admin"));
    admin.settings(json!({"push": {"url": receiver.url()}})).expect(200);
    producer.post_event(&event("close"));
    receiver.wait_for(1, Duration::from_secs(20));
    // Another tenant may not, even here.
    let operator = key("operator");
    tidings_tests::Tenant::create(&operator, "other")
        .admin
        .settings(json!({"push": {"url": receiver.url()}}))
        .refused_as(tidings_api::error::ErrorCode::BlockedAddress);
    drop(run);

    let open = command()
        .args(["--listen", &format!("0.0.0.0:{port}"), "--operator-key", "a key of more than 24 characters"])
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let open =
        FirstRun { child: open, url: format!("http://127.0.0.1:{port}"), log: dir.path().join("first.log") };
    let api = Api::new(&open.url, None);
    until("the second start", Duration::from_secs(60), || {
        api.try_send("GET", "/readyz", &[], None).ok().filter(|answer| answer.status == 200)
    });
    admin
        .settings(json!({"push": {"url": receiver.url()}}))
        .refused_as(tidings_api::error::ErrorCode::BlockedAddress);
    producer.post_event(&event("close"));
    until("a failed attempt", Duration::from_secs(20), || {
        let document = admin.get("notifications/2").expect(200);
        (document["data"]["meta"]["push"]["attempts"].as_u64() >= Some(1)).then_some(())
    });
    assert_eq!(receiver.count(), 1, "others can reach this server, so it must not reach loopback");
}

#[test]
fn tenants_and_keys_are_made_beside_a_running_server_and_a_backup_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let run = FirstRun::start(dir.path(), ports::free(), "first.log");
    let tool = |arguments: &[&str]| {
        let mut command = command();
        command.args(arguments).current_dir(dir.path());
        let output = ended(command);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let tenant = shown(&tool(&["tenant", "create", "Acme"]), "id");
    assert!(tool(&["tenant", "list"]).contains("Acme"));
    let key = shown(&tool(&["key", "create", &tenant, "--role", "admin"]), "key");
    assert_eq!(Api::new(&run.url, Some(&key)).post_event(&event("close")), 1);
    assert!(tool(&["key", "list", &tenant]).contains("admin"));
    assert!(tool(&["backup", "copy.db"]).contains("tidings.db.key"));
    drop(run);

    fs::copy(dir.path().join("tidings.db.key"), dir.path().join("copy.db.key")).unwrap();
    fs::remove_file(dir.path().join("tidings.db")).unwrap();
    let mut missing = command();
    missing.args(["backup", "other.db"]).current_dir(dir.path());
    assert!(!ended(missing).status.success(), "there is nothing to copy");
    fs::rename(dir.path().join("copy.db"), dir.path().join("tidings.db")).unwrap();
    for left in ["tidings.db-wal", "tidings.db-shm"] {
        let _ = fs::remove_file(dir.path().join(left));
    }
    // Without its key the copy would run and push nothing, so it doesn't run.
    let (key_file, aside) = (dir.path().join("tidings.db.key"), dir.path().join("aside.key"));
    fs::rename(&key_file, &aside).unwrap();
    let mut keyless = command();
    keyless.args(["--listen", &format!("127.0.0.1:{}", ports::free())]).current_dir(dir.path());
    let refused = ended(keyless);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("secret key"));
    fs::rename(&aside, &key_file).unwrap();
    let mut open_to_all = command();
    open_to_all.args(["--operator-key", ""]).current_dir(dir.path());
    assert!(!ended(open_to_all).status.success(), "an empty key keeps nobody out");

    let again = FirstRun::start(dir.path(), ports::free(), "again.log");
    assert!(!again.printed().contains("shown only now"), "the copy holds everything");
    Api::new(&again.url, Some(&key)).get("notifications/1").expect(200);
}
