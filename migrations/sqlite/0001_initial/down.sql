DROP TABLE instance;
DROP TABLE nodes;
DROP TABLE resources;
DROP TABLE states;
DROP TABLE notifications;
DROP TABLE api_keys;
DROP TABLE positions;
DROP TABLE tenants;
