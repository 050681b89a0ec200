-- name: replayed_upto
SELECT seq, turn FROM replayed WHERE seq IN (SELECT value FROM json_each(?));

-- name: mark_replayed
INSERT INTO replayed (seq, turn, uid) VALUES (?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET turn = max(turn, excluded.turn), uid = excluded.uid;

-- name: holder
SELECT uid FROM replayed WHERE seq = ?1;

-- name: claim_new
INSERT INTO replayed (seq, turn, uid) VALUES (?1, 0, ?2) ON CONFLICT (seq) DO NOTHING;

-- name: claim_from
UPDATE replayed SET uid = ?3 WHERE seq = ?1 AND uid = ?2;

-- name: release_new
DELETE FROM replayed WHERE seq = ?1 AND uid = ?2 AND turn = 0;

-- name: release
UPDATE replayed SET uid = '' WHERE seq = ?1 AND uid = ?2;

-- name: forget_refused
DELETE FROM edges WHERE kind = 'refused' AND turn IN (SELECT value FROM json_each(?));
