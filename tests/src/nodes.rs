//! Several servers on one database, each with a way of its own to it: one can be killed, frozen, cut off or replaced while
//! the others go on.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::database::psql_at;
use crate::proxy::Verdict;
use crate::{Api, Database, Kind, Options, Proxy, Server, Tenant, until, wait};

/// One of the servers.
pub struct Node {
    /// The server.
    pub server: Server,
    /// From the server to its database.
    pub way: Proxy,
    /// What the nodes know it by; none while it is an older version that doesn't tell.
    id: Option<String>,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// SIGKILL.
    Killed,
    /// SIGSTOP, and later SIGCONT.
    Frozen,
    /// Its connections to the database are cut, and new ones are refused.
    CutOff,
    /// Nothing passes between it and the database any more, in either direction, and nobody is told.
    Silenced,
}

impl Incident {
    /// All of them.
    pub const ALL: [Incident; 4] = [Incident::Killed, Incident::Frozen, Incident::CutOff, Incident::Silenced];
}

impl Node {
    fn start(database: &Database, mut options: Options) -> Self {
        let url = database.url();
        let (login, rest) = url.rsplit_once('@').expect("postgres://user@host:port/database");
        let (host, name) = rest.split_once('/').expect("postgres://user@host:port/database");
        let port = host.rsplit_once(':').expect("postgres://user@host:port/database").1;
        let way = Proxy::start(port.parse().expect("a port"));
        options.database_url = Some(format!("{login}@127.0.0.1:{}/{name}", way.port()));
        let server = Server::start_with(database, options);
        let mut node = Node { server, way, id: None };
        node.look();
        node
    }

    /// Finds out who it is in this run.
    fn look(&mut self) {
        let health = self.server.anonymous().get("/healthz?verbose").expect(200);
        let this = health["nodes"].as_array().into_iter().flatten().find(|node| node["isThisOne"] == true);
        self.id = this.and_then(|node| node["id"].as_str()).map(str::to_owned);
    }

    /// What the nodes know it by.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Lets it happen.
    pub fn suffer(&mut self, incident: Incident) {
        match incident {
            Incident::Killed => self.server.kill9(),
            Incident::Frozen => self.server.signal("STOP"),
            Incident::CutOff => self.way.down(),
            Incident::Silenced => self.way.watch(|_| Verdict::Hold),
        }
    }

    /// Ends it. Only the one that was killed is waited for until it is ready.
    pub fn recover(&mut self, incident: Incident) {
        match incident {
            Incident::Killed => {
                self.server.restart();
                self.look();
            }
            Incident::Frozen => self.server.signal("CONT"),
            Incident::CutOff => self.way.up(),
            Incident::Silenced => self.way.pass(),
        }
    }

    /// Waits until it is ready again by itself.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        let api = Api::patient(&self.server.url(), None, Duration::from_secs(5));
        until("the node to be ready again", Duration::from_secs(60), || {
            api.try_send("GET", "/readyz", &[], None).ok().filter(|answer| answer.status == 200)
        });
    }

    /// Stops it in good order and starts it again, as this program or as the one that was built.
    pub fn replace(&mut self, binary: Option<&Path>) {
        assert!(self.server.term().success(), "{}", self.server.log());
        self.server.replace(binary);
        self.server.restart();
        self.look();
    }

    /// A client of this node with this key, that doesn't wait long.
    pub fn api(&self, key: &str) -> Api {
        Api::patient(&self.server.url(), Some(key), Duration::from_secs(10))
    }

    /// What this node tells of all nodes.
    pub fn health(&self) -> Value {
        self.server.anonymous().get("/healthz?verbose").expect(200)
    }
}

/// Several servers on one PostgreSQL database.
pub struct Nodes {
    /// The servers.
    pub list: Vec<Node>,
    /// Their database.
    pub database: Database,
}

impl Nodes {
    /// Starts so many; of the program in `TIDINGS_TEST_SERVER`, if it is set: to see what a suite says of another version.
    pub fn start(count: usize) -> Self {
        Self::start_as(count, std::env::var_os("TIDINGS_TEST_SERVER").as_deref().map(Path::new))
    }

    /// Starts so many of this program, or of the one that was built.
    pub fn start_as(count: usize, binary: Option<&Path>) -> Self {
        let database = Database::new(Kind::Postgres);
        let options = Options { binary: binary.map(Path::to_owned), ..Options::default() };
        let list = (0..count).map(|_| Node::start(&database, options.clone())).collect();
        Nodes { list, database }
    }

    /// A new tenant, whose clients call the first node.
    pub fn tenant(&self, name: &str) -> Tenant {
        self.list[0].server.tenant(name)
    }

    /// Where all of them listen.
    pub fn urls(&self) -> Vec<String> {
        self.list.iter().map(|node| node.server.url()).collect()
    }

    /// The node with the tenant's lane, if it is one of these.
    pub fn owner(&self, tenant: &Tenant) -> Option<usize> {
        // An older version has no such column.
        let query = format!(
            "SELECT to_jsonb(positions) ->> 'lane_owner' FROM positions JOIN tenants ON id = tenant_id \
             WHERE public_id = '{}'",
            tenant.id
        );
        let owner = psql_at(self.database.url(), &query);
        self.list.iter().position(|node| node.id() == Some(&owner))
    }

    /// Waits until one of them has the tenant's lane. Older versions have none: then it is any.
    #[track_caller]
    pub fn wait_for_owner(&self, tenant: &Tenant) -> usize {
        if self.list.iter().all(|node| node.id().is_none()) {
            return 0;
        }
        until("a node to have the lane", wait::SOON, || self.owner(tenant))
    }
}
