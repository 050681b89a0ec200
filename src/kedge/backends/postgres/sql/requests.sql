-- name: add
INSERT INTO kedge.level_requests (id, kind, about, status, at, body) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO NOTHING;

-- name: find
SELECT body FROM kedge.level_requests WHERE id = $1;

-- name: of
SELECT body FROM kedge.level_requests WHERE about = $1 AND status IN ('pending', 'approved') ORDER BY at, id;

-- name: open
SELECT body FROM kedge.level_requests WHERE status IN ('pending', 'approved') ORDER BY at DESC, id DESC LIMIT $1;

-- name: decide
UPDATE kedge.level_requests SET status = $1, body = $2 WHERE id = $3 AND status = $4;

-- name: forget
DELETE FROM kedge.level_requests WHERE at < $1 RETURNING 1;
