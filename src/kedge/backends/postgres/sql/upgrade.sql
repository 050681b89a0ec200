-- name: schema
SELECT (SELECT max(version) FROM kedge.schema_version), (SELECT value FROM kedge.meta WHERE name = 'min_writer');

-- name: raise_fence
INSERT INTO kedge.meta (name, value) VALUES ('min_writer', $1)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: move_reclaimed
-- What older processes noted for all collections at once.
INSERT INTO kedge.meta AS m (name, value)
SELECT 'reclaimed:' || c.name, r.value FROM kedge.collections c JOIN kedge.meta r ON r.name = 'reclaimed'
ON CONFLICT (name) DO UPDATE
SET value = excluded.value WHERE convert_from(m.value, 'UTF8')::int8 < convert_from(excluded.value, 'UTF8')::int8;

-- name: drop_reclaimed
DELETE FROM kedge.meta WHERE name = 'reclaimed';
