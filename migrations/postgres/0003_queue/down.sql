DROP TABLE jobs;
DROP INDEX notifications_event_type;
ALTER TABLE notifications ALTER COLUMN event_type TYPE TEXT COLLATE "default";
DROP INDEX states_processed;
DROP INDEX states_class;
ALTER TABLE states DROP COLUMN class;
