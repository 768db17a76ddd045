-- The class of a delivery: push state, attempts, last error and last response status in one number. Deliveries of one
-- class differ in little but their times, and a tenant has few classes however many deliveries, so that one index answers for
-- all four: a filter chooses classes, an order puts them one behind the other, and within a class a page is one range.
-- So that they are few whatever a receiver answers: statuses that nobody needs apart count as the last of their hundred,
-- and 16 attempts and more as 16.
ALTER TABLE states ADD COLUMN class BIGINT GENERATED ALWAYS AS (
    least(attempts, 16)::bigint * 1048576 + push_state * 262144 + (CASE WHEN processed_at IS NULL THEN 0 ELSE 131072 END)
    + coalesce(error, 0) * 1024
    + CASE WHEN response_status IS NULL THEN 0 WHEN response_status IN (200, 201, 202, 204, 301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 501, 502, 503, 504)
      THEN response_status ELSE response_status / 100 * 100 + 99 END) STORED;
CREATE INDEX states_class ON states (tenant_id, class, sequence) WHERE push_state <> 0;
CREATE INDEX states_processed ON states (tenant_id, class, processed_at, sequence) WHERE processed_at IS NOT NULL;
-- By bytes, whatever the order of the database's texts: a list is put together across both.
ALTER TABLE notifications ALTER COLUMN event_type TYPE TEXT COLLATE "C";
CREATE INDEX notifications_event_type ON notifications (tenant_id, event_type, sequence);

-- Something done to many notifications. To which, and which flags are set, stands in task, as JSON, which may be large.
-- action: 1 repush, 2 update. state: 0 pending, 1 running, 2 done, 3 cancelled. While total is null, counted is how many
-- were found up to position; then position is the last sequence that was dealt with.
CREATE TABLE jobs (
    tenant_id BIGINT NOT NULL,
    id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    action SMALLINT NOT NULL,
    dry_run BOOLEAN NOT NULL,
    task TEXT NOT NULL,
    state SMALLINT NOT NULL,
    owner BIGINT,
    total BIGINT,
    counted BIGINT NOT NULL,
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

