//! Reading everything back, page after page, and checking it off.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tidings_api::BASE_PATH;

use crate::http::{Connection, get};

/// What a page is read for.
#[derive(Deserialize)]
struct Page {
    data: Vec<Item>,
    links: Links,
}

#[derive(Deserialize)]
struct Item {
    id: String,
}

#[derive(Deserialize)]
struct Links {
    next: Option<String>,
}

/// What a pull has shown.
#[derive(Default)]
pub(crate) struct Pulled {
    /// How many notifications.
    pub(crate) items: u64,
    /// How long the answers took, without the time to check them.
    pub(crate) took: Duration,
    /// Whether they were 1, 2, 3 … without gap.
    pub(crate) in_order: bool,
}

impl Pulled {
    pub(crate) fn per_second(&self) -> f64 {
        self.items as f64 / self.took.as_secs_f64()
    }
}

/// Pulls all notifications of one tenant.
pub(crate) async fn run(connection: &mut Connection, key: &str) -> Pulled {
    let mut pulled = Pulled { in_order: true, ..Pulled::default() };
    loop {
        let path = format!(
            "{BASE_PATH}/notifications?filter[isDismissed]=true,false&sort=sequence&page[size]=1000&page[after]={}",
            pulled.items
        );
        let begun = Instant::now();
        let answer = connection.exchange(&get(&path, key)).await.expect("a page is answered");
        pulled.took += begun.elapsed();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(answer.body));
        let page: Page = serde_json::from_slice(answer.body).expect("a page is JSON");
        for item in &page.data {
            pulled.items += 1;
            pulled.in_order &= item.id.parse() == Ok(pulled.items);
        }
        if page.links.next.is_none() || page.data.is_empty() {
            return pulled;
        }
    }
}
