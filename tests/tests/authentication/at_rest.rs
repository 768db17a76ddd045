//! No secret can be read in the database, whoever gets hold of its files or of a dump.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;
use tidings_tests::api::encode;
use tidings_tests::database::psql_at;
use tidings_tests::server::{OPERATOR_KEY, Options};
use tidings_tests::smtp::Smtp;
use tidings_tests::tls::Authority;
use tidings_tests::wait::SOON;
use tidings_tests::{Database, Kind, Receiver, Server, event, on_both, until};

use super::{attempts, reply, token_url};

/// What is stored, byte for byte in SQLite's files, the log of its changes among them; in PostgreSQL every row.
fn stored(db: &Database) -> String {
    let Some(path) = db.url().strip_prefix("sqlite:") else {
        let rows = "SELECT string_agg(query_to_xml('SELECT * FROM ' || quote_ident(table_name), true, false, '')::text, '') \
                    FROM information_schema.tables WHERE table_schema = 'public'";
        return psql_at(db.url(), rows);
    };
    let files = [path.to_owned(), format!("{path}-wal")];
    let bytes: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect();
    // Every secret is in ASCII, which stays as it is between whatever else is there.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn assert_not_in(stored: &str, secrets: &[String], when: &str) {
    for secret in secrets {
        let json = json!(secret).to_string();
        let forms = [
            secret.clone(),
            json.trim_matches('"').to_owned(),
            encode(secret),
            // But for the last characters, which depend on what follows; and behind a user's name, which no kind but
            // Basic has.
            STANDARD_NO_PAD.encode(secret)[..secret.len()].to_owned(),
            STANDARD_NO_PAD.encode(format!("user:{secret}"))[8..secret.len() + 4].to_owned(),
        ];
        for form in forms {
            assert!(!stored.contains(&form), "{form} stands in the database {when}");
        }
    }
}

on_both! {
    fn no_secret_stands_in_the_database(db) {
        let mail = Smtp::start();
        let url = mail.url("user:sm7p-s3cret-0f-the-mail");
        let arguments = ["--smtp-url", &url, "--alert-from", "tidings@example.com"].map(str::to_owned).to_vec();
        let server = Server::start_with(&db, Options { arguments, ..Options::default() });
        let tenant = server.tenant("at rest");
        let endpoint = Receiver::start(|_, _| reply(200, &json!({"access_token": "t0ken-from-the-endpoint"}).to_string()));
        // Repeats all that it is told, which goes into the log of attempts.
        let receiver = Receiver::start(|request, _| reply(422, &json!(request.headers).to_string()));
        let own = Authority::new().signs("tenant.example");
        tenant.admin.settings(json!({"push": {"url": receiver.url(), "retry": {"kind": "none"}}})).expect(200);
        let kinds = [
            ("header-s3cret-va1ue", json!({"kind": "header", "name": "X-Hook", "value": "header-s3cret-va1ue"})),
            ("basic/s3cret+passw0rd", json!({"kind": "basic", "username": "user", "password": "basic/s3cret+passw0rd"})),
            ("bearer.s3cret.t0ken", json!({"kind": "bearer", "token": "bearer.s3cret.t0ken"})),
            ("authorization-s3cret", json!({"kind": "authorization", "value": "Token authorization-s3cret"})),
            ("client=s3cret&oauth2", json!({"kind": "oauth2", "tokenUrl": token_url(&endpoint), "clientId": "user", "clientSecret": "client=s3cret&oauth2"})),
        ];
        let signing = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let key = own.key_pem();
        let mut secrets: Vec<String> = [
            tenant.signing_secret.as_str(), signing, &tenant.signing_secret[6..], &signing[6..],
            "sm7p-s3cret-0f-the-mail", "t0ken-from-the-endpoint", OPERATOR_KEY,
            tenant.admin.key(), tenant.producer.key(), tenant.consumer.key(),
        ].map(str::to_owned).to_vec();
        // The lines between those that say what it is, whole and in the text that JSON makes of them.
        secrets.extend(key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
        secrets.push(key.clone());
        tenant.admin.settings(json!({"alerts": {"email": "ops@example.com"}})).expect(200);
        tenant.admin.settings(json!({"push": {"tls": {"clientCertificate": own.certificate_pem(), "clientKey": key}}})).expect(200);
        tenant.admin.settings(json!({"push": {"signing": {"secret": signing}}})).expect(200);
        for (secret, authentication) in kinds {
            let kind = authentication["kind"].as_str().unwrap().to_owned();
            secrets.push(secret.to_owned());
            tenant.admin.settings(json!({"push": {"authentication": authentication}})).expect(200);
            let id = tenant.producer.post_event(&event("close"));
            let logged = until("the attempt in the log", SOON, || attempts(&tenant, id).into_iter().next());
            assert!(logged["responseText"].as_str().unwrap().contains("***"), "{logged}");
            let now = stored(&db);
            assert!(now.contains(&tenant.id) && now.contains("sealed:1:"), "what is stored was not read");
            assert_not_in(&now, &secrets, &format!("under {kind}"));
        }
        assert_eq!(endpoint.count(), 1, "the token was fetched");
        if db.kind() == Kind::Sqlite {
            // The key to all of it stands beside the database, and only there.
            let key = tidings_tests::server::secret_key(&db);
            assert_not_in(&stored(&db), &[key.trim().to_owned()], "beside its key");
        }
    }
}
