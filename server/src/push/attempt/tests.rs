use crate::push::egress::Egress;
use crate::secrets::Vault;
use crate::store::Store;
use crate::store::seam::NewTenant;

use super::*;

/// A directory for a database, gone with this.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("tidings-attempt-{:016x}", u64::from_be_bytes(secrets::random()));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn runtime(with_time: bool) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    if with_time { builder.enable_all() } else { builder.enable_io() }.build().unwrap()
}

/// What makes attempts, and a tenant with this push URL.
async fn with_tenant(folder: &Folder, url: &str) -> (Attempts, TenantId) {
    let database = format!("sqlite:{}", folder.0.join("tidings.db").display()).parse().unwrap();
    let store = Store::open(&database, &Arc::default(), 1).unwrap().store;
    let new = NewTenant {
        public_id: "a".to_owned(),
        name: "a".to_owned(),
        created_at: 1,
        settings: serde_json::json!({"push": {"url": url}}).to_string(),
        may_reach_loopback: false,
    };
    let tenant = store.write(None, move |conn| conn.tenant_create(&new)).await.unwrap().id;
    let attempts = Attempts {
        sender: Sender::new(Arc::new(Egress::default())),
        tokens: Arc::default(),
        permits: Arc::default(),
        directory: Arc::new(Directory::new(store, Vault::new(&Vault::new_key()).unwrap())),
        prepared: Remembered::default(),
        metrics: Arc::default(),
        base: String::new(),
        demo_loopback: false,
    };
    (attempts, tenant)
}

fn notification() -> StoredNotification {
    let content = Content {
        event_type: "close".to_owned(),
        created_at: 1,
        received_at: 1,
        comment: None,
        extra: String::new(),
        entity: None,
        created_by: None,
        included: String::new(),
    };
    StoredNotification {
        sequence: 1,
        content: Arc::new(content),
        state: State::new(PushProgress::Pending, None),
    }
}

#[test]
fn an_attempt_that_panics_has_failed_and_is_in_the_log() {
    let folder = Folder::new();
    let (attempts, tenant) = runtime(true).block_on(async {
        let (attempts, tenant) = with_tenant(&folder, "https://1.1.1.1/hook?token=s3cret").await;
        // Remembered from here on.
        attempts.directory.tenant(tenant).await.unwrap().expect("the tenant is there");
        (attempts, tenant)
    });
    // Without a clock the sender panics when it sets its deadline.
    let attempted = runtime(false).block_on(attempts.make(tenant, &notification(), AttemptReason::Retry));
    assert!(
        matches!(attempted.verdict, Verdict::Failed { asked: None, rejected: false, .. }),
        "{:?}",
        attempted.verdict
    );
    let record = attempted.record.expect("the log has it");
    assert_eq!((record.error, record.reason), (Some(AttemptError::Internal), AttemptReason::Retry));
    assert_eq!(&*record.url, "https://1.1.1.1/hook");
    assert_eq!((record.response_status, record.address), (None, None));
}

#[test]
fn a_url_that_is_none_stops_the_push_and_says_so() {
    let folder = Folder::new();
    runtime(true).block_on(async {
        for (url, stopped) in [
            ("no url", Some("the push URL can't be used: not an absolute URL: relative URL without a base")),
            ("ftp://example.com/", Some("the push URL can't be used: the scheme must be http or https")),
            ("https://example.com/hook", None),
            // What would be refused if it were set today goes on.
            ("https://my_host-.example.com/hook", None),
            ("https://example.com:0/hook", None),
        ] {
            let folder = Folder(folder.0.join(u64::from_be_bytes(secrets::random()).to_string()));
            std::fs::create_dir(&folder.0).unwrap();
            let (attempts, tenant) = with_tenant(&folder, url).await;
            let entry = attempts.directory.tenant(tenant).await.unwrap().expect("the tenant is there");
            assert_eq!(entry.tenant.push_stopped.as_deref(), stopped, "{url}");
            assert_eq!(entry.push_is_active(), stopped.is_none(), "{url}");
            let is_tried = attempts.prepared.get(&entry).is_some();
            assert_eq!(is_tried, stopped.is_none(), "{url}");
        }
    });
}
