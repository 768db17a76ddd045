//! Fetches what has come since the last run, and keeps it: a file for each notification.
//!
//! ```text
//! TIDINGS_URL=http://127.0.0.1:8080 TIDINGS_KEY=… cargo run -p tidings-client --example catch_up -- archive
//! ```
//!
//! Run it as often as you like, and kill it whenever you like: the cursor moves only when all before it is kept. For
//! pushes, an inbox on disk and a proof that nothing is missing, see the example `archive`.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tidings_client::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args().nth(1).ok_or("where shall they be kept?")?);
    fs::create_dir_all(&folder)?;
    let cursor = folder.join("cursor");
    let mut after = fs::read_to_string(&cursor).unwrap_or("0".to_owned());

    let client = Client::builder(env::var("TIDINGS_URL")?).key(env::var("TIDINGS_KEY")?).build()?;
    let client = client.blocking();
    loop {
        // Dismissed or not, oldest first.
        let page = client.notifications().any_dismissed().oldest_first().after(&after).page()?;
        for notification in &page.data {
            keep(&folder.join(format!("{}.json", notification.id)), &serde_json::to_vec(notification)?)?;
        }
        after = page.meta.and_then(|meta| meta.page).ok_or("a page has a cursor")?.after;
        keep(&cursor, after.as_bytes())?;
        if page.links.next.is_none() {
            break;
        }
    }
    println!("kept all up to {after}");
    Ok(())
}

/// Writes a file, all of it or nothing.
fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)
}
