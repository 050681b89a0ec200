-- name: replayed_upto
SELECT seq, turn FROM kedge.replayed WHERE seq = ANY($1::int8[]);

-- name: mark_replayed
INSERT INTO kedge.replayed (seq, turn, uid) VALUES ($1, $2, $3)
ON CONFLICT (seq) DO UPDATE SET turn = greatest(replayed.turn, excluded.turn), uid = excluded.uid;

-- name: holder
SELECT uid FROM kedge.replayed WHERE seq = $1;

-- name: claim_new
INSERT INTO kedge.replayed (seq, turn, uid) VALUES ($1, 0, $2) ON CONFLICT (seq) DO NOTHING;

-- name: claim_from
UPDATE kedge.replayed SET uid = $3 WHERE seq = $1 AND uid = $2;

-- name: release_new
DELETE FROM kedge.replayed WHERE seq = $1 AND uid = $2 AND turn = 0;

-- name: release
UPDATE kedge.replayed SET uid = '' WHERE seq = $1 AND uid = $2;

-- name: forget_refused
DELETE FROM kedge.edges WHERE kind = 'refused' AND turn = ANY($1::text[]);
