-- name: refresh
-- The share lock on the control row orders refreshes and changes of the record. The commit is on disk before it returns.
WITH control AS (
    SELECT epoch FROM kedge.control FOR SHARE
), refreshed AS (
    INSERT INTO kedge.members AS m
        (uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code)
    SELECT r.uid, r.name, r.host, r.pid, ARRAY(SELECT jsonb_array_elements_text(r.serves::jsonb)), r.lease_seconds,
        r.epoch, r.joined_at, r.at, r.epoch < c.epoch, r.held, r.code
    FROM control c, unnest(
        $1::text[], $2::text[], $3::text[], $4::int8[], $5::text[], $6::float8[], $7::int8[], $8::float8[],
        $9::float8[], $10::bytea[], $11::text[])
        AS r (uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, held, code)
    ON CONFLICT (uid) DO UPDATE SET
        epoch = greatest(m.epoch, excluded.epoch),
        at = excluded.at,
        expired = m.expired AND excluded.expired,
        held = excluded.held
)
SELECT epoch, (SELECT set_config('synchronous_commit', 'on', TRUE)) FROM control;

-- name: forget
-- It reads all members, so it runs only with rare statements.
DELETE FROM kedge.members WHERE expired AND at < (SELECT max(at) FROM kedge.members) - $1;

-- name: leave
DELETE FROM kedge.members WHERE uid = $1;

-- name: members
SELECT uid, name, host, pid, serves, lease_seconds, epoch, joined_at, at, expired, held, code FROM kedge.members
WHERE $1::int8 IS NULL OR epoch < $1 ORDER BY joined_at, uid;

-- name: count_out
UPDATE kedge.members SET expired = TRUE WHERE uid = ANY($1::text[]) AND epoch < $2;
