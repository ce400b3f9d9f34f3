ALTER TABLE nodes ADD COLUMN token_sha256 TEXT NOT NULL DEFAULT '';
CREATE INDEX nodes_by_token ON nodes (token_sha256);

-- One-time tokens with which new agents join.
CREATE TABLE join_tokens (
  token_sha256 TEXT PRIMARY KEY,
  expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
