-- How a deployment's replicas are to serve: a JSON object of what domain/serving_settings.h holds.
ALTER TABLE deployments ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
UPDATE deployments SET settings = json_object('dtype', dtype);
ALTER TABLE deployments DROP COLUMN dtype;
-- A replica's order says what it was started with, for a change that is withdrawn.
UPDATE attempts SET order_json = json_set(order_json, '$.settings', json_object('dtype', json_extract(order_json, '$.dtype')))
WHERE deployment_id <> '';
