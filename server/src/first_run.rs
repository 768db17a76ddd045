//! The first start: makes the operator's key, and on an embedded database a tenant to try things with.
//!
//! What it makes is printed once and kept as hashes; started again, it finds that everything is there.

use std::io::Write;

use tidings_api::tenant::Role;

use crate::config::Config;
use crate::provision;
use crate::secrets::{self, Vault};
use crate::serve::ServeError;
use crate::store::Store;
use crate::store::error::StoreError;

/// Under which name the hash of the operator's key is kept.
const OPERATOR: &str = "operator_key_hash";
/// Under which name a sealed text is kept that shows whether the secret key is the right one.
const SEALED: &str = "sealed_check";
/// Under which name it is kept that the first tenant was made.
const FIRST_TENANT: &str = "first_tenant";

/// Makes what is missing and prints it. Answers the hash of the operator's key.
///
/// # Errors
/// Those of the store; and when the secrets in it were sealed with another key.
pub async fn prepare(config: &Config, store: &Store, vault: &Vault) -> Result<[u8; 32], ServeError> {
    check_secret_key(store, vault).await?;
    let hash = match &config.operator_key {
        Some(key) => secrets::hash(key.reveal().as_bytes()),
        None => made_operator_key(store).await?,
    };
    if config.database.file().is_some() {
        make_first_tenant(config, store, vault).await?;
    }
    Ok(hash)
}

/// With another key the server would run, but push nothing: that is noticed here, not by whoever waits for a push.
async fn check_secret_key(store: &Store, vault: &Vault) -> Result<(), ServeError> {
    let sealed = vault.seal("tidings");
    let kept = store
        .write(None, move |conn| {
            conn.instance_put(SEALED, &sealed)?;
            conn.instance_get(SEALED)
        })
        .await?;
    vault.open(&kept.unwrap_or_default())?;
    Ok(())
}

async fn made_operator_key(store: &Store) -> Result<[u8; 32], StoreError> {
    let key = secrets::new_key("operator");
    let hex: String = secrets::hash(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let (is_new, kept) = store
        .write(None, move |conn| {
            let is_new = conn.instance_put(OPERATOR, &hex)?;
            Ok((is_new, conn.instance_get(OPERATOR)?.unwrap_or(hex)))
        })
        .await?;
    if is_new {
        print(&format!(
            "The operator's key, which manages tenants. It is shown only now:\n  operator        {key}\n\n"
        ));
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        let digits = kept.get(2 * index..2 * index + 2).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16)
            .map_err(|_| StoreError::File("the stored hash of the operator's key is damaged".to_owned()))?;
    }
    Ok(hash)
}

async fn make_first_tenant(config: &Config, store: &Store, vault: &Vault) -> Result<(), StoreError> {
    let first = provision::first_settings(vault);
    let made = store
        .write(None, move |conn| {
            if !conn.instance_put(FIRST_TENANT, "made")? || !conn.tenant_list(None, 1)?.is_empty() {
                return Ok(None);
            }
            let (tenant, secret) = provision::create_tenant(conn, first, "demo", true)?;
            let mut keys = Vec::new();
            for role in [Role::Producer, Role::Consumer, Role::Admin] {
                keys.push(provision::create_key(conn, tenant.id, "first run", role)?.1);
            }
            Ok(Some((tenant, secret, keys)))
        })
        .await?;
    let Some((tenant, secret, keys)) = made else { return Ok(()) };
    let [producer, consumer, admin] = keys.as_slice() else { return Ok(()) };
    let host = config.public_url.clone().unwrap_or_else(|| {
        let mut here = config.listen;
        if here.ip().is_unspecified() {
            here.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        format!("http://{here}")
    });
    let url = format!("{host}{}/notifications", tidings_api::BASE_PATH);
    print(&format!(
        "A first tenant, \"{name}\" ({id}). Its keys are shown only now:
  producer        {producer}
  consumer        {consumer}
  admin           {admin}
  signing secret  {secret}

Post an event:
curl -s -H 'x-api-key: {producer}' -H 'content-type: application/json' -d '{{\"data\":{{\"type\":\"notification\",\"attributes\":{{\"type\":\"close\",\"comment\":\"It works\"}}}}}}' {url}
Read what is not dismissed:
curl -s -H 'x-api-key: {consumer}' {url}
Dismiss it:
curl -s -X PATCH -H 'x-api-key: {consumer}' -H 'content-type: application/json' -d '{{\"data\":{{\"type\":\"notification\",\"id\":\"1\",\"attributes\":{{\"isDismissed\":true}}}}}}' {url}/1

See what becomes of it, with the admin key: {host}/
The interface is described at {host}/docs/

",
        name = tenant.name,
        id = tenant.public_id,
    ));
    Ok(())
}

/// Prints to standard output, where keys belong; logs go to standard error.
fn print(text: &str) {
    // Nobody reads it: then there is nobody to tell, either.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
