-- Every key begins with the tenant: a small internal number, so that index pages stay few.
-- Times are microseconds since 1970 in UTC.

CREATE TABLE tenants (
    id INTEGER PRIMARY KEY NOT NULL,
    public_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT,
    settings TEXT NOT NULL,
    version BIGINT NOT NULL,
    push_stopped TEXT,
    may_reach_loopback BOOLEAN NOT NULL
);

-- What changes with every batch stands apart from what an admin sets.
CREATE TABLE positions (
    tenant_id BIGINT PRIMARY KEY NOT NULL,
    version BIGINT NOT NULL,
    last_sequence BIGINT NOT NULL,
    removed_through BIGINT NOT NULL,
    last_success_at BIGINT
) WITHOUT ROWID;

CREATE TABLE api_keys (
    tenant_id BIGINT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    PRIMARY KEY (tenant_id, id)
);

-- The content of a notification. It never changes, so updating a flag doesn't rewrite it.
CREATE TABLE notifications (
    tenant_id BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    comment TEXT,
    extra TEXT NOT NULL,
    entity TEXT,
    created_by TEXT,
    included TEXT NOT NULL,
    idempotency_key BLOB,
    body_hash BLOB,
    PRIMARY KEY (tenant_id, sequence)
);
CREATE UNIQUE INDEX notifications_idempotency ON notifications (tenant_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX notifications_created_at ON notifications (tenant_id, created_at, sequence);

-- The state of a notification: small, and updated often.
-- push_state: 0 none, 1 pending, 2 delivered, 3 failed.
-- due_at: when the next attempt is due; the largest number while a node (owner) has it.
-- size: bytes that the content takes in memory, known without reading it.
CREATE TABLE states (
    tenant_id BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    is_dismissed BOOLEAN NOT NULL,
    is_read BOOLEAN NOT NULL,
    is_flagged BOOLEAN NOT NULL,
    push_state SMALLINT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at BIGINT,
    owner BIGINT,
    size INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, sequence)
) WITHOUT ROWID;
CREATE INDEX states_pending ON states (tenant_id, due_at, sequence) WHERE push_state = 1;
CREATE INDEX states_undismissed ON states (tenant_id, sequence) WHERE NOT is_dismissed;

-- Which notification holds the newest copy of a user (kind 0) or an entity (kind 1), and which was the last to name it.
CREATE TABLE resources (
    tenant_id BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    id TEXT NOT NULL,
    included_in BIGINT NOT NULL,
    named_by BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, kind, id)
) WITHOUT ROWID;

-- The server processes that share this database. One that is not seen for a while is dead, and its leases are free.
CREATE TABLE nodes (
    id BIGINT PRIMARY KEY NOT NULL,
    seen_at BIGINT NOT NULL
) WITHOUT ROWID;

-- What belongs to the installation as a whole.
CREATE TABLE instance (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Fixed statistics. SQLite chooses an index by what it knows of the data; with nothing known it would read all of a
-- tenant's states to find the few that are not dismissed. The numbers describe a busy store: a hundred tenants with ten
-- thousand notifications each, of which one in a hundred is pending or not dismissed.
ANALYZE;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('states', 'states', '1000000 10000 1'),
    ('states', 'states_undismissed', '10000 100 1'),
    ('states', 'states_pending', '10000 100 1 1'),
    ('notifications', 'sqlite_autoindex_notifications_1', '1000000 10000 1'),
    ('notifications', 'notifications_created_at', '1000000 10000 1 1'),
    ('notifications', 'notifications_idempotency', '1000000 10000 1');
