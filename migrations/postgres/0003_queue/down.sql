DROP TABLE jobs;
DROP INDEX notifications_event_type;
DROP INDEX states_processed;
DROP INDEX states_class;
ALTER TABLE states DROP COLUMN class;
