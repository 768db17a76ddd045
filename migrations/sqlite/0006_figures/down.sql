DROP INDEX tenants_stopped;
DROP INDEX states_failed;
