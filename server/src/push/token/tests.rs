use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// An endpoint that gives these answers, the last one for ever, each after a moment; and how often it was asked.
async fn endpoint(answers: &'static [(u16, &'static str)]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let mut read = stream.read(&mut buffer).await.unwrap();
            while !buffer[..read].ends_with(b"client_credentials") {
                read += stream.read(&mut buffer[read..]).await.unwrap();
            }
            let nth = count.fetch_add(1, Ordering::SeqCst);
            let (status, body) = answers[nth.min(answers.len() - 1)];
            tokio::time::sleep(Duration::from_millis(50)).await;
            let head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}", body.len());
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn grant(token_url: &str) -> Grant<'_> {
    Grant {
        tenant: 1,
        public_id: "a tenant",
        token_url,
        client_id: "client",
        client_secret: "secret",
        scope: None,
        tls: None,
        loopback_too: true,
    }
}

const DEADLINE: Duration = Duration::from_secs(10);

async fn get(tokens: &Tokens, grant: &Grant<'_>) -> Result<String, TokenError> {
    let sender = Sender::new(Arc::default());
    tokens.get(&sender, grant, DEADLINE).await.map(|token| token.text.clone())
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

#[tokio::test]
async fn many_who_wait_share_one_fetch() {
    let (url, asked) = endpoint(&[(200, r#"{"access_token":"a","token_type":"bearer"}"#)]).await;
    let tokens = Arc::<Tokens>::default();
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let (tokens, url) = (Arc::clone(&tokens), url.clone());
        waiting.spawn(async move { get(&tokens, &grant(&url)).await });
    }
    assert_eq!(waiting.join_all().await, vec![Ok("a".to_owned()); 50]);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Others, and the same tenant with other credentials, have tokens of their own.
    for other in [Grant { tenant: 2, ..grant(&url) }, Grant { client_secret: "new", ..grant(&url) }] {
        assert_eq!(get(&tokens, &other).await, Ok("a".to_owned()));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_for_a_moment() {
    let (url, asked) =
        endpoint(&[(400, r#"{"error":"invalid_scope"}"#), (200, r#"{"access_token":"a"}"#)]).await;
    let (tokens, grant) = (Tokens::default(), grant(&url));
    let refused = TokenError::Refused(400, ErrorName(Some("invalid_scope")));
    assert_eq!(get(&tokens, &grant).await, Err(refused));
    assert_eq!(refused.to_string(), "the token endpoint answered with status 400 (invalid_scope)");
    let failed_at = Instant::now();
    let resting = get(&tokens, &grant).await;
    assert!(matches!(resting, Err(TokenError::Resting(left)) if left <= FIRST_REST), "{resting:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let token = loop {
        match get(&tokens, &grant).await {
            Err(TokenError::Resting(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other,
        }
        assert!(failed_at.elapsed() < DEADLINE, "it rests for ever");
    };
    assert_eq!(token, Ok("a".to_owned()));
    assert!(failed_at.elapsed() >= FIRST_REST * 9 / 10, "asked again after {:?}", failed_at.elapsed());
}

#[test]
fn rests_grow_to_a_bound() {
    let (now, mut known) = (Instant::now(), Known::default());
    let rests: Vec<u64> = (0..8)
        .map(|_| {
            known.rest(now);
            known.rest_until.unwrap().duration_since(now).as_secs()
        })
        .collect();
    assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[tokio::test]
async fn what_is_refused_is_fetched_anew_but_not_without_end() {
    let (url, asked) = endpoint(&[(200, r#"{"access_token":"a"}"#), (200, r#"{"access_token":"b"}"#)]).await;
    let (tokens, grant, sender) = (Tokens::default(), grant(&url), Sender::new(Arc::default()));
    let first = tokens.get(&sender, &grant, DEADLINE).await.unwrap();
    assert!(tokens.refused(&grant, &first));
    let second = tokens.get(&sender, &grant, DEADLINE).await.unwrap();
    assert_eq!((second.reveal(), asked.load(Ordering::SeqCst)), ("b", 2));
    // Somebody else was slower to learn that the first is no good: the second stays.
    assert!(tokens.refused(&grant, &first));
    assert_eq!(get(&tokens, &grant).await, Ok("b".to_owned()));
    // The second is no better: then it isn't the token.
    tokens.refused_again(&grant);
    assert!(!tokens.refused(&grant, &second));
    assert_eq!(get(&tokens, &grant).await, Ok("b".to_owned()));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_token_is_renewed_before_its_end() {
    let asked = Instant::now();
    for (expires_in, lifetime, renewed_after) in [
        ("3600", 3_600.0, 3_540.0),
        ("\"3600\"", 3_600.0, 3_540.0),
        ("300.0", 300.0, 240.0),
        ("10", 10.0, 8.0),
        ("0", 1.0, 0.8),
        ("-5", 1.0, 0.8),
        ("-1e99", 1.0, 0.8),
        ("\"-0.0\"", 1.0, 0.8),
        ("1e99", 1e9, 1e9 - 60.0),
    ] {
        let body = format!(r#"{{"access_token":"a","token_type":"BEARER","expires_in":{expires_in}}}"#);
        let token = read(&answer(200, &body), asked).unwrap();
        let after = |at: Option<Instant>| at.unwrap().duration_since(asked).as_secs_f64();
        assert!((after(token.ends_at) - lifetime).abs() < 1e-3, "{expires_in}");
        assert!((after(token.renew_at) - renewed_after).abs() < 1e-3, "{expires_in}");
    }
    for rest in [
        "",
        r#","expires_in":null"#,
        r#","expires_in":"soon""#,
        r#","expires_in":[1]"#,
        r#","expires_in":"NaN""#,
        r#","expires_in":"inf""#,
        r#","expires_in":"-inf""#,
        r#","expires_in":"1e999""#,
    ] {
        let token = read(&answer(200, &format!(r#"{{"access_token":"a"{rest}}}"#)), asked).unwrap();
        assert!(token.ends_at.is_none() && token.renew_at.is_none(), "{rest}");
    }
}

#[test]
fn what_is_no_bearer_token_is_not_used() {
    let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(LONGEST_TOKEN + 1));
    for body in [
        "",
        "a",
        "<html>",
        "[]",
        "{}",
        r#"{"access_token":null}"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":"a b"}"#,
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":"ä"}"#,
        r#"{"access_token":"a","token_type":"mac"}"#,
        r#"{"access_token":"a","access_token":"b"}"#,
        &long,
    ] {
        assert_eq!(read(&answer(200, body), Instant::now()).err(), Some(TokenError::NoToken), "{body}");
    }
    for (status, body, name) in [
        (401, r#"{"error":"invalid_client"}"#, Some("invalid_client")),
        (400, r#"{"error":"client_secret=abc"}"#, None),
        (302, r#"{"access_token":"a"}"#, None),
        (500, "oops", None),
    ] {
        let refused = TokenError::Refused(status, ErrorName(name));
        assert_eq!(read(&answer(status, body), Instant::now()).err(), Some(refused), "{status} {body}");
    }
}

#[test]
fn client_and_secret_are_encoded_before_they_are_joined() {
    // RFC 6749 §2.3.1, and the example of its text.
    let grant = Grant { client_id: "s6BhdRkqt3", client_secret: "gX1fBat3bV", ..grant("") };
    assert_eq!(grant.basic(), "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
    let special = Grant { client_id: "a:b", client_secret: "c d&", scope: Some("x y"), ..grant };
    assert_eq!(special.basic(), format!("Basic {}", STANDARD.encode("a%3Ab:c+d%26")));
    assert_eq!(special.body(false), "grant_type=client_credentials&scope=x+y");
    assert_eq!(
        special.body(true),
        "grant_type=client_credentials&scope=x+y&client_id=a%3Ab&client_secret=c+d%26"
    );
}
