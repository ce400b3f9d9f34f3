-- Of an adapter of multitask prompt tuning: how many tasks have a prompt of their own. Until now only its format said so.
ALTER TABLE model_versions ADD COLUMN tasks INTEGER NOT NULL DEFAULT 0;
UPDATE model_versions SET tasks = CAST(substr(format, instr(format, ' tasks=') + 7) AS INTEGER)
WHERE kind = 'adapter' AND instr(format, ' tasks=') > 0;
-- What calls give as `model`: names of its tasks in turn, the first is its own.
ALTER TABLE deployment_adapters ADD COLUMN served_names TEXT NOT NULL DEFAULT '[]';
UPDATE deployment_adapters SET served_names = (
  WITH RECURSIVE task(number) AS (
    SELECT 0 UNION ALL SELECT number + 1 FROM task
    WHERE number + 1 < (SELECT min(tasks, 64) FROM model_versions WHERE id = model_version_id))
  SELECT json_group_array(CASE number WHEN 0 THEN name ELSE name || '-task-' || number END) FROM task);
