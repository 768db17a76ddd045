//! docs/production.md: what it says to type for backup and restore brings back what was there, on both databases.

#![expect(clippy::unwrap_used, reason = "a suite is all test, its helpers too")]

use std::process::Command;

use serde_json::json;
use tidings_tests::server::beside;
use tidings_tests::{Api, Receiver, Reply, Server, event, on_both, until};

/// The one command of the page that has this in it.
fn command(part: &str) -> String {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/production.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let found: Vec<&str> = blocks.filter(|block| block.contains(part)).collect();
    let [one] = found.as_slice() else { panic!("{} commands with {part}", found.len()) };
    assert_eq!(one.lines().count(), 1, "one command");
    (*one).to_owned()
}

on_both! {
    fn a_backup_is_restored_with_one_command(database) {
        let receiver = Receiver::start(|_, _| Reply::Status(200));
        let backups = tempfile::tempdir().unwrap();
        let (backup, restore) = if database.url().starts_with("sqlite:") {
            ("tidings-server backup", "tidings-*.db | tail")
        } else {
            ("pg_dump", "pg_restore")
        };
        let run = |part: &str| {
            let command = command(part)
                .replace("/var/lib/tidings", &database.dir().display().to_string())
                .replace("/var/backups", &backups.path().display().to_string());
            let path = format!("{}:{}", beside().display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("sh");
            shell.args(["-c", &command]).env("PATH", path).env("TIDINGS_DATABASE_URL", database.url());
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        };

        let mut server = Server::start(&database);
        let tenant = server.tenant("Acme");
        tenant.producer.post_event(&event("close"));
        let count = |api: &Api| {
            api.get("notifications").expect(200)["data"].as_array().unwrap().len()
        };
        run(backup);
        tenant.producer.post_event(&event("print"));
        assert_eq!(count(&tenant.consumer), 2);
        server.kill9();
        run(restore);
        server.restart();
        assert_eq!(count(&tenant.consumer), 1, "as it was when the backup was made, with its keys");

        // Its secrets can be opened: a push is signed with one.
        let push = json!({"push": {"url": receiver.url()}});
        tenant.admin.settings(push).expect(200);
        tenant.producer.post_event(&event("sign"));
        until("a signed push", std::time::Duration::from_secs(20), || {
            (receiver.count() > 0).then_some(())
        });
    }
}
