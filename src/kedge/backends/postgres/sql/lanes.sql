-- name: lock
SELECT id FROM kedge.lanes WHERE id = ANY($1) ORDER BY id FOR UPDATE;

-- name: lock_for
SELECT id, (SELECT set_config('transaction_timeout', $2, TRUE))
FROM kedge.lanes WHERE id = ANY($1) ORDER BY id FOR UPDATE;

-- name: free
SELECT id FROM kedge.lanes FOR SHARE SKIP LOCKED;

-- name: pass
SELECT id FROM kedge.lanes WHERE id = $1 FOR SHARE;
