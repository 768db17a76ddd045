-- What was given up, by time: whose a tenant's failures of today are, and which tenants have any. Nothing enters it while
-- pushes succeed.
CREATE INDEX states_failed ON states (tenant_id, processed_at) WHERE push_state = 3;
-- Whose push the server or its receiver has stopped.
CREATE INDEX tenants_stopped ON tenants (id) WHERE push_stopped IS NOT NULL;

-- The same busy store as before: few are given up, and few tenants are stopped.
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('states', 'states_failed', '1000 10 1'),
    ('tenants', 'tenants_stopped', '10 1');
