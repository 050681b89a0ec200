-- name: schema
SELECT (SELECT max(version) FROM kedge.schema_version), (SELECT value FROM kedge.meta WHERE name = 'min_writer');

-- name: raise_fence
INSERT INTO kedge.meta (name, value) VALUES ('min_writer', $1)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;
