-- The node whose a tenant's lane is: none but that one leases its notifications. NULL: nobody's.
ALTER TABLE positions ADD COLUMN lane_owner BIGINT;

-- What a node tells of itself: its name and version, since when it runs, how many lanes are its own, and how many
-- notifications it has leased. NULL where an older version has written the row.
ALTER TABLE nodes ADD COLUMN name TEXT;
ALTER TABLE nodes ADD COLUMN version TEXT;
ALTER TABLE nodes ADD COLUMN started_at BIGINT;
ALTER TABLE nodes ADD COLUMN lanes BIGINT;
ALTER TABLE nodes ADD COLUMN leases BIGINT;
