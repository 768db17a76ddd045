-- What an attempt leaves with the state: when the last one ended (processed_at) and how (response_status; error by its
-- number, null where there was none). attempts_before: attempts made before a re-push; the schedule counts from there.
ALTER TABLE states ADD COLUMN processed_at BIGINT;
ALTER TABLE states ADD COLUMN response_status SMALLINT;
ALTER TABLE states ADD COLUMN error SMALLINT;
ALTER TABLE states ADD COLUMN attempts_before INTEGER NOT NULL DEFAULT 0;

-- What waits and isn't put off has its own sequence for due_at, so that a backlog is taken strictly oldest first. No
-- sequence ever comes near a time, so it is always due.
UPDATE states SET due_at = sequence WHERE push_state = 1 AND due_at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- What is put off, by sequence: of those that are due again the oldest is tried first, however many there are.
CREATE INDEX states_put_off ON states (tenant_id, sequence)
    WHERE push_state = 1 AND due_at <> sequence AND due_at < 9223372036854775807;

-- Every attempt that was made, until its notification expires.
CREATE TABLE attempts (
    tenant_id BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    number INTEGER NOT NULL,
    started_at BIGINT NOT NULL,
    duration_ms INTEGER NOT NULL,
    url TEXT NOT NULL,
    address TEXT,
    reason SMALLINT NOT NULL,
    response_status SMALLINT,
    response_text TEXT NOT NULL,
    error SMALLINT,
    PRIMARY KEY (tenant_id, sequence, number)
);

-- Whether the push was stopped for want of success, and when it last began anew.
ALTER TABLE tenants ADD COLUMN push_disabled BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tenants ADD COLUMN push_resumed_at BIGINT NOT NULL DEFAULT 0;
UPDATE tenants SET push_resumed_at = created_at;

-- Under strict order: until when the oldest holds up the rest.
ALTER TABLE positions ADD COLUMN held_until BIGINT;
