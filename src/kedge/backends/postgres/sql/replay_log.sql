-- name: replayed_upto
SELECT seq, turn FROM kedge.replayed WHERE seq = ANY($1::int8[]);

-- name: mark_replayed
INSERT INTO kedge.replayed (seq, turn, uid) VALUES ($1, $2, $3)
ON CONFLICT (seq) DO UPDATE SET turn = greatest(replayed.turn, excluded.turn), uid = excluded.uid;
