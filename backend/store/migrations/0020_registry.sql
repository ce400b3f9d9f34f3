-- Models and datasets: named things with immutable versions. The bytes are in the artifact store.
CREATE TABLE models (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  description TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE model_versions (
  id TEXT PRIMARY KEY,
  model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,              -- base, adapter
  artifact_id TEXT NOT NULL,
  path TEXT NOT NULL,              -- of the model inside the artifact; empty for its root
  size_bytes INTEGER NOT NULL,
  family TEXT NOT NULL,
  parameter_count INTEGER NOT NULL,
  context_length INTEGER NOT NULL,
  format TEXT NOT NULL,
  has_chat_template INTEGER NOT NULL,
  base_version_id TEXT NOT NULL,   -- of an adapter
  run_id TEXT NOT NULL,            -- that made it; empty for an import
  metrics TEXT NOT NULL,           -- JSON object: name -> number
  description TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  UNIQUE (model_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX model_versions_by_base ON model_versions (base_version_id);
CREATE INDEX model_versions_by_run ON model_versions (run_id);
CREATE INDEX model_versions_by_artifact ON model_versions (artifact_id);

CREATE TABLE datasets (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE COLLATE NOCASE,
  description TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE dataset_versions (
  id TEXT PRIMARY KEY,
  dataset_id TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
  version INTEGER NOT NULL,
  artifact_id TEXT NOT NULL,
  path TEXT NOT NULL,              -- of the JSONL file inside the artifact
  format TEXT NOT NULL,
  roles TEXT NOT NULL,             -- JSON object: role -> column
  row_count INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  UNIQUE (dataset_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX dataset_versions_by_artifact ON dataset_versions (artifact_id);
CREATE INDEX dataset_versions_by_run ON dataset_versions (run_id);
