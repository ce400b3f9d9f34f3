-- Gives a score for a text in the place of next tokens: nothing serves, evaluates or trains on it.
ALTER TABLE model_versions ADD COLUMN reward INTEGER NOT NULL DEFAULT 0;
