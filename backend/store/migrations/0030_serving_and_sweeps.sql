-- What replicas' metrics said: running totals, so that the figures between any two readings are exact.
CREATE TABLE replica_readings (
  deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
  time_ms INTEGER NOT NULL,
  position INTEGER NOT NULL,     -- in the feed
  attempt_id TEXT NOT NULL,
  reading TEXT NOT NULL,         -- JSON
  PRIMARY KEY (deployment_id, time_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX replica_readings_by_position ON replica_readings (deployment_id, position);

-- Adapters that a deployment serves beside what it was made for.
CREATE TABLE deployment_adapters (
  deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
  name TEXT NOT NULL UNIQUE,
  model_version_id TEXT NOT NULL,
  model_label TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  PRIMARY KEY (deployment_id, name)
) STRICT, WITHOUT ROWID;

-- Of a replica: JSON of what became of them there since it was ready, {"loaded": [name], "failures": {name: [code, message, advice]}}.
ALTER TABLE attempts ADD COLUMN adapters TEXT NOT NULL DEFAULT '{}';
-- A replica of a version that a deployment did not move to after all.
ALTER TABLE attempts ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;

-- Of a task's: its engine is to end early and keep what it has.
ALTER TABLE attempts ADD COLUMN keep_asked INTEGER NOT NULL DEFAULT 0;

ALTER TABLE runs ADD COLUMN sweep_id TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN estimate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN training_hash TEXT NOT NULL DEFAULT '';  -- of what its training depends on
ALTER TABLE runs ADD COLUMN predictions TEXT NOT NULL DEFAULT '{}';  -- JSON object: name -> number, of an estimate of the same
CREATE INDEX runs_by_sweep ON runs (sweep_id);
CREATE INDEX runs_by_training ON runs (training_hash);
