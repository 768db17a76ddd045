-- What was given up, by time: whose a tenant's failures of today are, and which tenants have any. Nothing enters it while
-- pushes succeed.
CREATE INDEX states_failed ON states (tenant_id, processed_at) WHERE push_state = 3;
-- Whose push the server or its receiver has stopped.
CREATE INDEX tenants_stopped ON tenants (id) WHERE push_stopped IS NOT NULL;
