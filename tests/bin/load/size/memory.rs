//! The server's memory: idle, under full load, before a large backlog, and with many tenants.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tidings_api::BASE_PATH;
use tidings_tests::{Tenant, ports};

use super::process::memory;
use super::{Figures, Scope, posts, server, store, wait_for};
use crate::Options;
use crate::generator;
use crate::http::get;
use crate::target::Receiver;
use crate::turns::progress;

/// Connections that post, under full load.
const CONNECTIONS: usize = 256;
/// Connections that pull beside them.
const PULLERS: usize = 4;
/// How long a server has had nothing to do when it is idle.
const IDLE: Duration = Duration::from_secs(5);

/// Measures one after the other, each with a server of its own.
pub(crate) async fn measure(figures: &mut Figures, options: &Options, scope: &Scope) {
    idle_and_load(figures, options, scope).await;
    backlog(figures, options, scope).await;
    tenants(figures, options, scope).await;
}

async fn idle_and_load(figures: &mut Figures, options: &Options, scope: &Scope) {
    let database = scope.database();
    let server = server(options, &database);
    tokio::time::sleep(IDLE).await;
    figures.add("memory, idle", memory(server.pid()).now, "MB", Some(30.0));

    let receiver = Receiver::start();
    let pushed = Tenant::create(&server.operator(), "load");
    pushed.push_to(&receiver.url(0), true);
    let address = ([127, 0, 0, 1], server.port()).into();
    let count = full_load(figures, options, address, &pushed).await;
    wait_for(figures, &receiver, count).await;
    let full = memory(server.pid());
    figures.add("memory, full load, peak", full.peak, "MB", Some(100.0));
    tokio::time::sleep(IDLE).await;
    figures.add("memory, idle again", memory(server.pid()).now, "MB", None);
}

/// Posts, with pushes, while others pull; answers how many were accepted.
async fn full_load(figures: &mut Figures, options: &Options, address: SocketAddr, tenant: &Tenant) -> u64 {
    let requests = posts([tenant.producer.key()], options.body);
    let end = Instant::now() + options.phase();
    let page = format!(
        "{BASE_PATH}/notifications?filter[isDismissed]=true,false&sort=sequence&page[size]=100&page[after]=0"
    );
    let page = get(&page, tenant.consumer.key());
    let pulls = std::iter::from_fn(move || (Instant::now() < end).then(|| page.clone()));
    let (posted, pulled) = tokio::join!(
        generator::run(address, &requests, CONNECTIONS, options.phase(), None),
        generator::each(address, pulls, PULLERS, 200)
    );
    figures.check(&posted);
    figures.check(&pulled);
    progress(&format!("  {:.0} posts/s, {:.0} pages/s", posted.per_second(), pulled.per_second()));
    posted.accepted.iter().sum()
}

/// A dead receiver with a backlog beside a tenant under full load.
async fn backlog(figures: &mut Figures, options: &Options, scope: &Scope) {
    let database = scope.database();
    let mut server = server(options, &database);
    let waiting = Tenant::create(&server.operator(), "waiting");
    let nowhere = format!("http://127.0.0.1:{}/", ports::free());
    let push = |enabled: bool| json!({"push": {"url": nowhere, "enabled": enabled}});
    waiting.admin.settings(push(false)).expect(200);
    let first = posts([waiting.producer.key()], options.body);
    let address = ([127, 0, 0, 1], server.port()).into();
    figures.check(&generator::each(address, first.into_iter(), 1, 201).await);
    server.term();
    progress(&format!("{} notifications are made to wait", scope.most));
    store::copies(&database, scope.most, 60_000_000);
    server.restart();

    waiting.admin.settings(push(true)).expect(200);
    tokio::time::sleep(IDLE).await;
    let before = memory(server.pid());
    let what = format!("memory, {} waiting", scope.most);
    figures.add(format!("{what}, nothing else"), before.now, "MB", Some(100.0));
    let receiver = Receiver::start();
    let pushed = Tenant::create(&server.operator(), "load");
    pushed.push_to(&receiver.url(0), true);
    let count = full_load(figures, options, address, &pushed).await;
    wait_for(figures, &receiver, count).await;
    figures.add(format!("{what}, full load, peak"), memory(server.pid()).peak, "MB", Some(100.0));
}

/// Many tenants, all of them busy.
async fn tenants(figures: &mut Figures, options: &Options, scope: &Scope) {
    let database = scope.database();
    let server = server(options, &database);
    let receiver = Receiver::start();
    let keys = store::tenants(&database, (0..scope.owners as usize).map(|nth| receiver.url(nth)));
    let requests = posts(keys.iter().map(String::as_str), options.body);
    let address = ([127, 0, 0, 1], server.port()).into();
    // Each has its turn twice at least.
    let (end, mut left) = (Instant::now() + options.phase(), 2 * requests.len());
    let requests = requests.into_iter().cycle().take_while(move |_| {
        left = left.saturating_sub(1);
        left > 0 || Instant::now() < end
    });
    let posted = generator::each(address, requests, CONNECTIONS, 201).await;
    figures.check(&posted);
    progress(&format!("  {:.0} posts/s", posted.per_second()));
    wait_for(figures, &receiver, posted.accepted.iter().sum()).await;
    figures.add(
        format!("memory, {} tenants, peak", scope.owners),
        memory(server.pid()).peak,
        "MB",
        Some(150.0),
    );
}
