CREATE TABLE runs (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  workflow TEXT NOT NULL,
  state TEXT NOT NULL,
  parameters TEXT NOT NULL,      -- JSON object: name -> JSON text, as people see them
  values_json TEXT NOT NULL,     -- JSON object: name -> checked value, as templates see them
  results_plan TEXT NOT NULL,    -- JSON object: name -> template
  results TEXT NOT NULL,         -- JSON object: name -> number
  created_by TEXT NOT NULL,
  idempotency_key TEXT UNIQUE,
  request_hash TEXT NOT NULL,    -- of what came with the key
  created_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  error_code TEXT NOT NULL DEFAULT '',
  error_message TEXT NOT NULL DEFAULT '',
  error_advice TEXT NOT NULL DEFAULT '',
  error_task TEXT NOT NULL DEFAULT '',
  model_version_id TEXT NOT NULL DEFAULT '',
  deployment_id TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_state ON runs (state);

-- What a run took in: model and dataset versions, for lineage.
CREATE TABLE run_inputs (
  run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  kind TEXT NOT NULL,            -- model, dataset
  version_id TEXT NOT NULL,
  PRIMARY KEY (run_id, kind, version_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_inputs_by_version ON run_inputs (version_id);

CREATE TABLE tasks (
  id TEXT PRIMARY KEY,
  run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,     -- in the workflow
  name TEXT NOT NULL,
  title TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  plan TEXT NOT NULL,            -- JSON: the workflow's task that it began with
  artifacts TEXT NOT NULL DEFAULT '{}',  -- JSON: name -> artifact id
  results TEXT NOT NULL DEFAULT '{}',    -- JSON: name -> value
  losses INTEGER NOT NULL DEFAULT 0,     -- attempts lost since the last start or retry
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  error_code TEXT NOT NULL DEFAULT '',
  error_message TEXT NOT NULL DEFAULT '',
  error_advice TEXT NOT NULL DEFAULT '',
  waiting_reason TEXT NOT NULL DEFAULT '',
  progress_phase TEXT NOT NULL DEFAULT '',
  progress_done INTEGER NOT NULL DEFAULT 0,
  progress_total INTEGER NOT NULL DEFAULT 0,
  progress_unit TEXT NOT NULL DEFAULT '',
  progress_eta_s REAL NOT NULL DEFAULT -1,
  UNIQUE (run_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  wanted TEXT NOT NULL,          -- running, stopped
  model_version_id TEXT NOT NULL,
  model_label TEXT NOT NULL,
  base_version_id TEXT NOT NULL, -- of an adapter
  base_label TEXT NOT NULL,
  dtype TEXT NOT NULL,
  served_names TEXT NOT NULL,    -- JSON list, the tuned one first
  run_id TEXT NOT NULL,
  url TEXT NOT NULL DEFAULT '',  -- of the ready replica
  losses INTEGER NOT NULL DEFAULT 0,
  created_at_ms INTEGER NOT NULL,
  ready_at_ms INTEGER,
  error_code TEXT NOT NULL DEFAULT '',
  error_message TEXT NOT NULL DEFAULT '',
  error_advice TEXT NOT NULL DEFAULT '',
  waiting_reason TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE INDEX deployments_by_version ON deployments (model_version_id);

CREATE TABLE nodes (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  state TEXT NOT NULL,           -- online, offline
  facts TEXT NOT NULL,           -- JSON, as the agent reported them
  joined_at_ms INTEGER NOT NULL,
  last_seen_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node_samples (
  node_id TEXT NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
  time_ms INTEGER NOT NULL,
  position INTEGER NOT NULL,     -- in the feed
  sample TEXT NOT NULL,          -- JSON
  PRIMARY KEY (node_id, time_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX node_samples_by_position ON node_samples (position);

-- What engines do: an attempt of a task, or a replica of a deployment.
CREATE TABLE attempts (
  id TEXT PRIMARY KEY,
  run_id TEXT NOT NULL,          -- empty for a replica
  task_id TEXT NOT NULL,         -- empty for a replica
  deployment_id TEXT NOT NULL,   -- empty for a task's
  number INTEGER NOT NULL,
  engine TEXT NOT NULL,
  state TEXT NOT NULL,
  order_json TEXT NOT NULL,      -- JSON: spec, inputs, upload_artifacts, return_files, limits
  work_key TEXT NOT NULL,
  node_id TEXT NOT NULL DEFAULT '',
  device TEXT NOT NULL DEFAULT '',
  stop_asked INTEGER NOT NULL DEFAULT 0,
  ready_url TEXT NOT NULL DEFAULT '',
  created_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  exit_code INTEGER,
  error_code TEXT NOT NULL DEFAULT '',
  error_message TEXT NOT NULL DEFAULT '',
  error_advice TEXT NOT NULL DEFAULT '',
  released INTEGER NOT NULL DEFAULT 0  -- the node may delete, or has deleted, the work folder
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_task ON attempts (task_id, number);
CREATE INDEX attempts_by_deployment ON attempts (deployment_id, number);
CREATE INDEX attempts_by_node ON attempts (node_id, released);
CREATE INDEX attempts_by_state ON attempts (state);
CREATE INDEX attempts_by_work_key ON attempts (work_key);

-- How far each file of an attempt is stored: a line is stored once.
CREATE TABLE attempt_files (
  attempt_id TEXT NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
  file TEXT NOT NULL,            -- events, stdout, stderr
  end_offset INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, file)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_lines (
  position INTEGER PRIMARY KEY,  -- in the feed
  run_id TEXT NOT NULL,          -- of a run, or the deployment again
  owner_id TEXT NOT NULL,        -- task or deployment
  attempt_id TEXT NOT NULL,
  number INTEGER NOT NULL,       -- from 0, per owner and stream
  stream TEXT NOT NULL,          -- stdout, stderr
  time_ms INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
CREATE INDEX log_lines_by_run ON log_lines (run_id, position);
CREATE INDEX log_lines_by_owner ON log_lines (owner_id, stream, number);

-- Engines' events, and the backend's own about a run (json empty, message says what).
CREATE TABLE run_events (
  position INTEGER PRIMARY KEY,  -- in the feed
  run_id TEXT NOT NULL,
  owner_id TEXT NOT NULL,        -- task or deployment; empty for the run itself
  attempt_id TEXT NOT NULL,
  time_ms INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  json TEXT NOT NULL,
  message TEXT NOT NULL
) STRICT;
CREATE INDEX run_events_by_run ON run_events (run_id, position);

-- A step that is trained again after a restart replaces its point.
CREATE TABLE metric_points (
  task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  step INTEGER NOT NULL,
  value REAL NOT NULL,
  time_ms INTEGER NOT NULL,
  PRIMARY KEY (task_id, name, step)
) STRICT, WITHOUT ROWID;
