-- The states of a tenant that its alerts tell of. A row is inserted when the state begins and deleted when it ends.
CREATE TABLE alert_states (
    tenant_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, kind)
);

-- What is told of them, a row for each way (0 mail, 1 URL). due_at: when it is to be sent; none once it is.
-- Rows stay for a while after that: they say how often a state was told lately.
CREATE TABLE alerts (
    tenant_id BIGINT NOT NULL,
    id TEXT NOT NULL,
    way SMALLINT NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    since BIGINT NOT NULL,
    detail TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at BIGINT,
    owner BIGINT,
    PRIMARY KEY (tenant_id, id, way)
);
CREATE INDEX alerts_due ON alerts (due_at) WHERE due_at IS NOT NULL;
-- What is yet to be told, in its order.
CREATE INDEX alerts_waiting ON alerts (tenant_id, way, at, id) WHERE due_at IS NOT NULL;

-- Whether the settings speak of alerts.backlogAgeSeconds, so that nobody has to read all settings to find out.
ALTER TABLE tenants ADD COLUMN tells_of_backlog BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX tenants_tells_of_backlog ON tenants (id) WHERE tells_of_backlog;

-- When a job last asked for its push again: how long it may wait for that counts from then.
ALTER TABLE states ADD COLUMN repushed_at BIGINT;
