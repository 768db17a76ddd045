//! The whole interface, asked by schemathesis from its own description: examples, the edges of every schema, random
//! documents good and bad, and calls that follow each other. Whatever the answer, it is one that the description has, and
//! never a failure of the server.
//!
//! `TIDINGS_TEST_CASES=1000` asks each call so many times, and differently each time.

use std::time::Duration;

use serde_json::json;
use tidings_tests::program::{ended_within, text};
use tidings_tests::{Language, Server, event, on_both, server};

/// How often each call is asked, unless somebody wants more.
const CASES: &str = "15";

on_both! {
    fn every_answer_is_one_that_the_description_has(db) {
        let server = Server::start(&db);
        let tenant = server.tenant("described");
        for _ in 0..3 {
            tenant.producer.post_event(&event("close"));
        }
        let mut program = Language::build("schemathesis").program("schemathesis");
        program
            .args(["--no-color", "--config-file", "schemathesis.toml", "run", &format!("{}/openapi.json", server.url())])
            .args(["--checks", "all", "--warnings", "off"])
            .env("TIDINGS_TENANT", &tenant.id)
            .env("TIDINGS_KEY", tenant.admin.key())
            .env("TIDINGS_OPERATOR_KEY", server::OPERATOR_KEY);
        let patience = match std::env::var("TIDINGS_TEST_CASES") {
            Ok(cases) => {
                program.args(["--max-examples", &cases]);
                Duration::from_secs(24 * 60 * 60)
            }
            Err(_) => {
                program.args(["--max-examples", CASES, "--seed", "1"]);
                Duration::from_secs(15 * 60)
            }
        };
        let output = ended_within(program, patience);
        assert!(output.status.success(), "{}", text(&output));
        println!("{}", text(&output));
        // It was asked all the time, and is well.
        tenant.admin.settings(json!({"enabled": true, "selection": null})).expect(200);
        tenant.producer.post_event(&event("close"));
    }
}
