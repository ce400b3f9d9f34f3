-- Facts about this store: store_id.
CREATE TABLE store_facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The last position given out: one counter orders changes, events, log lines and samples.
CREATE TABLE feed (
  position INTEGER NOT NULL
) STRICT;
INSERT INTO feed VALUES (0);

-- The latest change of each thing: watchers send the thing as it is now. A thing that is gone stays here as a change.
CREATE TABLE changes (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  position INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX changes_by_run ON changes (run_id, position);
