//! New tenants and keys: made in one way, whether an operator asks over HTTP or at the command line.

use chrono::Utc;
use tidings_api::settings::{PushPatch, SettingsPatch, SigningPatch};
use tidings_api::tenant::Role;
use uuid::Uuid;

use crate::push::signature::SigningSecret;
use crate::secrets::{self, Vault};
use crate::store::seam::{ApiKey, NewTenant, Queries, Result, Tenant, TenantId};

/// The settings of a tenant that is to be: a signing secret and nothing else.
pub struct FirstSettings {
    stored: String,
    secret: String,
}

/// Makes a signing secret and seals it, outside of any transaction.
pub fn first_settings(vault: &Vault) -> FirstSettings {
    let secret = SigningSecret::generate().to_text();
    let signing = SigningPatch { secret: Some(vault.seal(&secret).into()), ..SigningPatch::default() };
    let push = PushPatch { signing: Some(signing), ..PushPatch::default() };
    let settings = SettingsPatch { push: Some(push), ..SettingsPatch::default() };
    let stored = serde_json::to_string(&settings).expect("settings hold nothing that JSON can't");
    FirstSettings { stored, secret }
}

/// Makes a tenant. Answers with it and with the secret by which its pushes are signed: it is told only now.
///
/// # Errors
/// Those of the store.
pub fn create_tenant(
    conn: &mut dyn Queries,
    first: FirstSettings,
    name: &str,
    may_reach_loopback: bool,
) -> Result<(Tenant, String)> {
    let tenant = conn.tenant_create(&NewTenant {
        public_id: Uuid::new_v4().to_string(),
        name: name.to_owned(),
        created_at: Utc::now().timestamp_micros(),
        settings: first.stored,
        may_reach_loopback,
    })?;
    Ok((tenant, first.secret))
}

/// Makes a key of a tenant. Answers with what is known of it and with the key itself: it is told only now.
///
/// # Errors
/// Those of the store.
pub fn create_key(
    conn: &mut dyn Queries,
    tenant: TenantId,
    name: &str,
    role: Role,
) -> Result<(ApiKey, String)> {
    let text = secrets::new_key(role.as_str());
    let key = ApiKey {
        tenant,
        id: Uuid::new_v4().to_string(),
        name: name.to_owned(),
        role: role.as_str().to_owned(),
        created_at: Utc::now().timestamp_micros(),
        last_used_at: None,
    };
    conn.key_create(&key, &secrets::hash(text.as_bytes()))?;
    Ok((key, text))
}
