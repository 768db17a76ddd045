ALTER TABLE states DROP COLUMN repushed_at;
DROP INDEX tenants_tells_of_backlog;
ALTER TABLE tenants DROP COLUMN tells_of_backlog;
DROP TABLE alerts;
DROP TABLE alert_states;
