use serde_json::json;
use tidings_api::settings::{
    AcknowledgementKind, ContentType, Detail, Ordering, PayloadFormat, Profile, Retry, Scope,
    VerificationKind,
};

use super::*;

const NOW: Micros = 1_700_000_000_000_000;

fn sealed(text: &str) -> String {
    format!("sealed({text})")
}

fn set(stored: &str, patch: Value) -> Result<String, Refused> {
    change(stored, patch, "tenant-1", NOW, sealed)
}

fn read(stored: &str) -> (Settings, Secrets) {
    let settings = resolve(stored, "tenant-1").unwrap();
    let open = |sealed: &str| Ok::<_, ()>(Secret::new(format!("open {sealed}")));
    let secrets = secrets(stored, &settings, open).unwrap();
    (settings, secrets)
}

fn in_force_after(patches: impl IntoIterator<Item = Value>) -> Settings {
    let stored = patches.into_iter().fold("{}".to_owned(), |stored, patch| set(&stored, patch).unwrap());
    read(&stored).0
}

#[test]
fn without_a_profile_our_own_defaults_hold() {
    let settings = in_force_after([]);
    assert!(settings.enabled && settings.push.enabled && !settings.push.auto_dismiss);
    assert_eq!((settings.profile, settings.push.url.as_deref()), (None, None));
    assert_eq!(settings.push.content_type, ContentType::Json);
    assert_eq!((settings.push.timeout_seconds, settings.push.max_concurrency), (15, 32));
    assert_eq!(settings.push.ordering, Ordering::None);
    assert_eq!(settings.push.client_id, "tenant-1");
    assert_eq!(settings.push.client_id_header, "X-AdobeSign-ClientId");
    let Retry::Exponential { first_seconds, cap_seconds, attempts, .. } = settings.push.retry else {
        panic!()
    };
    assert_eq!((first_seconds, cap_seconds, attempts), (5, 43_200, 20));
    assert_eq!((settings.payload.detail, settings.payload.max_bytes), (Detail::Full, 10_000_000));
    assert_eq!(settings.payload.format, PayloadFormat::JsonApi);
    assert_eq!(settings.selection.scope, Scope::All);
    assert_eq!((settings.retention.days, settings.retention.undelivered_days), (180, None));
}

#[test]
fn a_profile_sets_what_is_known_of_its_system() {
    let of = |name: &str| in_force_after([json!({"profile": name})]);
    let signals = of("signals");
    assert_eq!(signals.profile, Some(Profile::Signals));
    assert_eq!(signals.push.retry, Retry::None);
    assert!(signals.push.auto_dismiss);

    let acrobat = of("acrobatSign");
    assert_eq!(acrobat.push.acknowledgement.kind, AcknowledgementKind::ClientIdEcho);
    assert_eq!(acrobat.push.verification.kind, VerificationKind::ClientIdEcho);
    assert_eq!((acrobat.push.timeout_seconds, acrobat.push.max_concurrency), (5, 30));
    assert_eq!(acrobat.push.disable_after_seconds, Some(7 * 86_400));
    let expected = Retry::Exponential {
        first_seconds: 30,
        factor: 2.0,
        cap_seconds: 12 * 3600,
        give_up_after_seconds: Some(72 * 3600),
        attempts: 16,
        jitter: 0.0,
    };
    assert_eq!(acrobat.push.retry, expected);
    assert_eq!(acrobat.payload.optional_fields[0], "includeSignedDocuments");
    assert_eq!(acrobat.payload.optional_fields.len(), 4);

    let socrate = of("socrateCloud");
    assert_eq!(socrate.push.retry, Retry::Fixed { every_seconds: 300, attempts: 21, jitter: 0.0 });

    let optimizer = of("serviceOptimizer");
    assert_eq!(optimizer.push.user_agent.as_deref(), Some("DataNotifier"));
    assert_eq!(optimizer.push.acknowledgement.kind, AcknowledgementKind::SuccessEnvelope);
    assert_eq!(optimizer.payload.detail, Detail::Thin);

    let standard = of("standardWebhooks");
    let Retry::List { delays_seconds, .. } = &standard.push.retry else { panic!() };
    assert_eq!(delays_seconds, &[5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);

    // What isn't known is ours.
    assert_eq!(of("sertifi").push, in_force_after([]).push);
}

#[test]
fn a_profile_puts_the_rest_back_and_leaves_who_and_what() {
    let first = json!({
        "push": {"url": "https://a/", "timeoutSeconds": 99, "retry": {"attempts": 3}, "clientId": "me",
            "authentication": {"kind": "bearer", "token": "t"}},
        "payload": {"maxBytes": 5000}, "selection": {"types": ["close"]}, "retention": {"days": 9},
        "alerts": {"backlogAgeSeconds": 60}
    });
    let settings = in_force_after([first, json!({"profile": "socrateCloud", "push": {"maxConcurrency": 2}})]);
    assert_eq!(settings.push.url.as_deref(), Some("https://a/"));
    assert_eq!(settings.push.client_id, "me");
    assert_eq!(settings.push.authentication, Authentication::Bearer);
    assert_eq!((settings.retention.days, settings.alerts.backlog_age_seconds), (9, Some(60)));
    assert_eq!(settings.selection.types.len(), 1);
    assert_eq!((settings.push.timeout_seconds, settings.payload.max_bytes), (15, 10_000_000));
    assert_eq!(settings.push.retry, Retry::Fixed { every_seconds: 300, attempts: 21, jitter: 0.0 });
    assert_eq!(settings.push.max_concurrency, 2, "single settings of the same change differ");

    let differs = [json!({"profile": "signals"}), json!({"push": {"autoDismiss": false}})];
    assert!(!in_force_after(differs.clone()).push.auto_dismiss, "and those of a later one");
    let [profile, single] = differs;
    let back = in_force_after([profile, single, json!({"push": {"autoDismiss": null}})]);
    assert!(back.push.auto_dismiss, "null puts a member back to the profile's value");
    assert_eq!(in_force_after([json!({"profile": "signals"}), json!({"profile": null})]), in_force_after([]));
}

#[test]
fn every_bundle_can_be_read_and_is_allowed() {
    for name in BUNDLES.profiles.keys() {
        let settings = in_force_after([json!({"profile": name})]);
        assert_eq!(serde_json::to_value(settings.profile).unwrap(), json!(name));
    }
    for (pointer, kinds) in &BUNDLES.kinds {
        assert!(BUNDLES.default.pointer(&format!("{pointer}/kind")).is_some(), "{pointer}");
        assert!(!kinds.is_empty());
    }
}

#[test]
fn members_merge_and_null_restores_the_default() {
    let settings = in_force_after([
        json!({"push": {"url": "https://a/", "autoDismiss": true, "retry": {"attempts": 3}}}),
        json!({"push": {"autoDismiss": null, "retry": {"factor": 3.0}}}),
    ]);
    assert_eq!(settings.push.url.as_deref(), Some("https://a/"));
    assert!(!settings.push.auto_dismiss);
    let Retry::Exponential { factor, attempts, first_seconds, .. } = settings.push.retry else { panic!() };
    assert_eq!((factor, attempts, first_seconds), (3.0, 3, 5));
}

#[test]
fn another_kind_begins_with_its_own_defaults() {
    let settings = in_force_after([
        json!({"push": {"retry": {"attempts": 3, "firstSeconds": 9}}}),
        json!({"push": {"retry": {"kind": "fixed", "everySeconds": 60}}}),
    ]);
    assert_eq!(settings.push.retry, Retry::Fixed { every_seconds: 60, attempts: 20, jitter: 0.2 });
    let back = in_force_after([
        json!({"push": {"retry": {"kind": "fixed", "attempts": 2}}}),
        json!({"push": {"retry": {"kind": null}}}),
    ]);
    assert_eq!(back.push.retry, in_force_after([]).push.retry);
    let list = json!({"push": {"retry": {"kind": "list", "delaysSeconds": [1, 2]}}});
    assert_eq!(
        in_force_after([json!({"profile": "acrobatSign"}), list]).push.retry,
        Retry::List { delays_seconds: vec![1, 2], jitter: 0.2 }
    );
}

#[test]
fn secrets_are_stored_sealed_and_opened_by_the_kind() {
    let header = json!({"kind": "header", "name": "X-Hook", "value": "s3cret"});
    let stored =
        set("{}", json!({"push": {"authentication": header, "signing": {"secret": "whsec_x"}}})).unwrap();
    let (settings, secrets) = read(&stored);
    assert_eq!(settings.push.authentication, Authentication::Header { name: "X-Hook".into() });
    assert_eq!(secrets.authentication.as_ref().unwrap().reveal(), "open sealed(s3cret)");
    assert_eq!(secrets.signing[0].secret.reveal(), "open sealed(whsec_x)");
    assert!(!format!("{secrets:?}").contains("s3cret"));
    for (kind, member) in
        [("basic", "password"), ("bearer", "token"), ("authorization", "value"), ("oauth2", "clientSecret")]
    {
        let mut group = json!({"kind": kind});
        group[member] = json!("other");
        if kind == "basic" {
            group["username"] = json!("u");
        } else if kind == "oauth2" {
            group["tokenUrl"] = json!("https://t/");
            group["clientId"] = json!("c");
        }
        let stored = set(&stored, json!({"push": {"authentication": group}})).unwrap();
        assert!(!stored.contains("s3cret"), "the secret of the kind before is forgotten: {stored}");
        assert_eq!(read(&stored).1.authentication.unwrap().reveal(), "open sealed(other)", "{kind}");
    }
}

#[test]
fn a_replaced_signing_secret_signs_on_until_the_overlap_ends() {
    let patch = |secret: &str| json!({"push": {"signing": {"secret": secret}}});
    let first = set("{}", patch("a")).unwrap();
    assert_eq!(read(&first).1.signing.len(), 1);
    let second = set(&first, patch("b")).unwrap();
    let keys = read(&second).1.signing;
    assert_eq!((keys[0].secret.reveal(), keys[0].until), ("open sealed(b)", None));
    assert_eq!((keys[1].secret.reveal(), keys[1].until), ("open sealed(a)", Some(NOW + 86_400_000_000)));
    let later = NOW + 86_400_000_001;
    let third = change(&second, json!({"push": {"autoDismiss": true}}), "tenant-1", later, sealed).unwrap();
    assert_eq!(read(&third).1.signing.len(), 1, "what has ended is forgotten with the next change");
    let at_once = json!({"push": {"signing": {"secret": "c", "overlapSeconds": 0}}});
    assert_eq!(read(&set(&first, at_once).unwrap()).1.signing.len(), 1);
    let mut stored = first;
    for secret in ["1", "2", "3", "4", "5", "6"] {
        stored = set(&stored, patch(secret)).unwrap();
    }
    assert_eq!(read(&stored).1.signing.len(), 1 + MOST_PREVIOUS);
}

#[test]
fn a_tenant_is_never_without_a_signing_secret() {
    let before = set("{}", json!({"push": {"url": "https://a/", "signing": {"secret": "s"}}})).unwrap();
    for patch in [
        json!({"push": null}),
        json!({"push": {"signing": null}}),
        json!({"push": {"signing": {"secret": null}}}),
        json!({"profile": "signals"}),
    ] {
        let after = set(&before, patch.clone()).unwrap();
        assert_eq!(read(&after).1.signing[0].secret.reveal(), "open sealed(s)", "{patch}");
    }
}

#[test]
fn settings_that_can_not_be_read_keep_everything() {
    for damaged in ["[]", r#"{"push":{"retry":{"kind":"fibonacci"}}}"#, r#"{"push":{"timeoutSeconds":"1"}}"#]
    {
        assert!(resolve(damaged, "t").is_err(), "{damaged}");
    }
    let kept = unreadable("t");
    assert!(kept.enabled && kept.push.url.is_some() && kept.retention.days == u32::MAX);
}

#[test]
fn secrets_that_can_not_be_opened_leave_the_settings_readable() {
    let stored = r#"{"push":{"signing":{"secret":"x"}},"retention":{"days":7}}"#;
    let settings = resolve(stored, "t").unwrap();
    assert_eq!(settings.retention.days, 7);
    assert_eq!(secrets(stored, &settings, |_| Err("closed")).unwrap_err(), "closed");

    // Set anew, the current one opens; the one before doesn't matter any more.
    let again = set(stored, json!({"push": {"signing": {"secret": "new"}}})).unwrap();
    let only_new = |text: &str| text.contains("new").then(|| Secret::new(text.to_owned())).ok_or("closed");
    assert_eq!(secrets(&again, &settings, only_new).unwrap().signing.len(), 1);
}

#[test]
fn a_refusal_names_the_member() {
    let cases = [
        (
            json!({"push": {"authentication": {"kind": "header", "name": "X-A"}}}),
            "/push/authentication/value",
        ),
        (json!({"push": {"authentication": {"kind": "header", "value": "a"}}}), "/push/authentication/name"),
        (
            json!({"push": {"authentication": {"kind": "header", "name": "a b", "value": "v"}}}),
            "/push/authentication/name",
        ),
        (
            json!({"push": {"authentication": {"kind": "header", "name": "Webhook-Id", "value": "v"}}}),
            "/push/authentication/name",
        ),
        (
            json!({"push": {"authentication": {"kind": "header", "name": "Host", "value": "v"}}}),
            "/push/authentication/name",
        ),
        (
            json!({"push": {"authentication": {"kind": "authorization", "value": "a\nb"}}}),
            "/push/authentication/value",
        ),
        (
            json!({"push": {"authentication": {"kind": "authorization", "value": " "}}}),
            "/push/authentication/value",
        ),
        (json!({"push": {"authentication": {"kind": "bearer"}}}), "/push/authentication/token"),
        (
            json!({"push": {"authentication": {"kind": "basic", "username": "u"}}}),
            "/push/authentication/password",
        ),
        (
            json!({"push": {"authentication": {"kind": "basic", "username": "a:b", "password": "p"}}}),
            "/push/authentication/username",
        ),
        (
            json!({"push": {"authentication": {"kind": "oauth2", "clientId": "c", "clientSecret": "s"}}}),
            "/push/authentication/tokenUrl",
        ),
        (
            json!({"push": {"authentication": {"kind": "bearer", "token": "t", "name": "X"}}}),
            "/push/authentication/name",
        ),
        (json!({"push": {"authentication": {"name": "X"}}}), "/push/authentication/name"),
        (json!({"push": {"tls": {"clientCertificate": "pem"}}}), "/push/tls/clientKey"),
        (json!({"push": {"tls": {"clientKey": "pem"}}}), "/push/tls/clientCertificate"),
        (json!({"push": {"retry": {"attempts": 0}}}), "/push/retry/attempts"),
        (json!({"push": {"retry": {"firstSeconds": 86_401}}}), "/push/retry/firstSeconds"),
        (json!({"push": {"retry": {"factor": 0.5}}}), "/push/retry/factor"),
        (json!({"push": {"retry": {"everySeconds": 5}}}), "/push/retry/everySeconds"),
        (json!({"push": {"retry": {"kind": "fixed", "factor": 2}}}), "/push/retry/factor"),
        (json!({"push": {"retry": {"kind": "none", "attempts": 2}}}), "/push/retry/attempts"),
        (json!({"push": {"retry": {"kind": "list", "delaysSeconds": []}}}), "/push/retry/delaysSeconds"),
        (
            json!({"push": {"retry": {"kind": "list", "delaysSeconds": [5, 0]}}}),
            "/push/retry/delaysSeconds/1",
        ),
        (json!({"push": {"retry": {"jitter": 1.5}}}), "/push/retry/jitter"),
        (json!({"push": {"retry": {"giveUpAfterSeconds": 0}}}), "/push/retry/giveUpAfterSeconds"),
        (json!({"push": {"userAgent": ""}}), "/push/userAgent"),
        (json!({"push": {"userAgent": "a\r\nb"}}), "/push/userAgent"),
        (json!({"push": {"timeoutSeconds": 121}}), "/push/timeoutSeconds"),
        (json!({"push": {"maxConcurrency": 0}}), "/push/maxConcurrency"),
        (json!({"push": {"rateLimit": 0}}), "/push/rateLimit"),
        (json!({"push": {"disableAfterSeconds": 59}}), "/push/disableAfterSeconds"),
        (json!({"push": {"clientId": "ü"}}), "/push/clientId"),
        (json!({"push": {"clientIdHeader": "a b"}}), "/push/clientIdHeader"),
        (json!({"push": {"signing": {"overlapSeconds": 2_592_001}}}), "/push/signing/overlapSeconds"),
        (json!({"payload": {"maxBytes": 999}}), "/payload/maxBytes"),
        (json!({"payload": {"fields": {"a b": ["c"]}}}), "/payload/fields/a b"),
        (json!({"payload": {"fields": {"close": ["c", ""]}}}), "/payload/fields/close/1"),
        (json!({"payload": {"optionalFields": ["c", "c"]}}), "/payload/optionalFields"),
        (json!({"selection": {"types": ["a", "a"]}}), "/selection/types"),
        (json!({"selection": {"columns": [""]}}), "/selection/columns/0"),
        (json!({"selection": {"scope": {"kind": "group"}}}), "/selection/scope/groupId"),
        (json!({"selection": {"scope": {"kind": "user", "groupId": "g"}}}), "/selection/scope/groupId"),
        (json!({"selection": {"scope": {"accountId": "a"}}}), "/selection/scope/accountId"),
        (json!({"selection": {"condition": "1 +"}}), "/selection/condition"),
        (json!({"selection": {"condition": "1 + 1"}}), "/selection/condition"),
        (json!({"selection": {"condition": "data"}}), "/selection/condition"),
        (
            json!({"push": {"clientIdHeader": "authorization", "authentication": {"kind": "bearer", "token": "t"}}}),
            "/push/clientIdHeader",
        ),
        (
            json!({"push": {"authentication": {"kind": "header", "name": "Content-Encoding", "value": "v"}}}),
            "/push/authentication/name",
        ),
        (json!({"selection": {"units": {"n/1": {"a b": true}}}}), "/selection/units/n~11/a b"),
        (json!({"retention": {"days": 0}}), "/retention/days"),
        (json!({"retention": {"undeliveredDays": 0}}), "/retention/undeliveredDays"),
        (json!({"alerts": {"backlogAgeSeconds": 59}}), "/alerts/backlogAgeSeconds"),
    ];
    for (patch, pointer) in cases {
        assert_eq!(set("{}", patch.clone()).unwrap_err().pointer, pointer, "{patch}");
    }
}

#[test]
fn a_switch_of_a_unit_is_taken_away_with_null() {
    let settings = in_force_after([
        json!({"selection": {"units": {"north": {"create": true, "*": false}, "south": {"close": false}}}}),
        json!({"selection": {"units": {"north": {"create": null}, "south": null}}}),
    ]);
    assert_eq!(serde_json::to_value(settings.selection.units).unwrap(), json!({"north": {"*": false}}));
}

#[test]
fn a_header_of_ones_own_is_no_attribute_of_a_cloud_event() {
    let name = json!({"kind": "header", "name": "Ce-Type", "value": "v"});
    let authentication = json!({"push": {"authentication": name}});
    let client_id = json!({"push": {"clientIdHeader": "ce-client"}});
    for (header, pointer) in
        [(authentication, "/push/authentication/name"), (client_id, "/push/clientIdHeader")]
    {
        let plain = set("{}", header).unwrap();
        for format in ["cloudEvents", "cloudEventsBinary"] {
            let refused = set(&plain, json!({"payload": {"format": format}})).unwrap_err();
            assert_eq!((refused.code, &*refused.pointer), (ErrorCode::InvalidValue, pointer));
        }
    }
}
