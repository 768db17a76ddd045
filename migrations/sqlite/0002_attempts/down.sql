ALTER TABLE positions DROP COLUMN held_until;
ALTER TABLE tenants DROP COLUMN push_resumed_at;
ALTER TABLE tenants DROP COLUMN push_disabled;
DROP TABLE attempts;
DROP INDEX states_put_off;
ALTER TABLE states DROP COLUMN attempts_before;
ALTER TABLE states DROP COLUMN error;
ALTER TABLE states DROP COLUMN response_status;
ALTER TABLE states DROP COLUMN processed_at;
