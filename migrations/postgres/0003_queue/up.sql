-- The class of a delivery: push state, attempts, last error and last response status in one number. Deliveries of one
-- class differ only in their times, and a tenant has few classes however many deliveries, so that one index answers for
-- all four: a filter chooses classes, an order puts them one behind the other, and within a class a page is one range.
ALTER TABLE states ADD COLUMN class BIGINT GENERATED ALWAYS AS (
    attempts::bigint * 1048576 + push_state * 262144 + (CASE WHEN processed_at IS NULL THEN 0 ELSE 131072 END)
    + coalesce(error, 0) * 1024 + coalesce(response_status, 0)) STORED;
CREATE INDEX states_class ON states (tenant_id, class, sequence) WHERE push_state <> 0;
CREATE INDEX states_processed ON states (tenant_id, class, processed_at, sequence) WHERE processed_at IS NOT NULL;
CREATE INDEX notifications_event_type ON notifications (tenant_id, event_type, sequence);

-- Something done to many notifications. What is done and to which stands in task, as JSON.
-- state: 0 pending, 1 running, 2 done, 3 cancelled. position: the last sequence that was dealt with.
CREATE TABLE jobs (
    tenant_id BIGINT NOT NULL,
    id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    task TEXT NOT NULL,
    state SMALLINT NOT NULL,
    owner BIGINT,
    total BIGINT,
    processed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    position BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX jobs_created_at ON jobs (tenant_id, created_at, id);
CREATE INDEX jobs_open ON jobs (tenant_id, created_at) WHERE state < 2;
CREATE INDEX jobs_ended_at ON jobs (ended_at) WHERE ended_at IS NOT NULL;

