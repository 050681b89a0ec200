-- name: add
INSERT INTO level_requests (id, kind, about, status, at, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING;

-- name: find
SELECT body FROM level_requests WHERE id = ?;

-- name: of
SELECT body FROM level_requests WHERE about = ? AND status IN ('pending', 'approved') ORDER BY at, id;

-- name: open
SELECT body FROM level_requests WHERE status IN ('pending', 'approved') ORDER BY at DESC, id DESC LIMIT ?;

-- name: decide
UPDATE level_requests SET status = ?, body = ? WHERE id = ? AND status = ?;

-- name: forget
DELETE FROM level_requests WHERE at < ?;
