-- A gang: the ranks of one attempt, each with a device, a row each. Rank 0's row stands for the attempt.
ALTER TABLE attempts ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN leader_id TEXT NOT NULL DEFAULT '';  -- of the other ranks: rank 0's row
ALTER TABLE attempts ADD COLUMN meeting TEXT NOT NULL DEFAULT '';    -- HOST:PORT where it could be met, once it is prepared
ALTER TABLE attempts ADD COLUMN broken INTEGER NOT NULL DEFAULT 0;   -- of rank 0: another rank was lost, so it is to end
CREATE INDEX attempts_by_leader ON attempts (leader_id);
