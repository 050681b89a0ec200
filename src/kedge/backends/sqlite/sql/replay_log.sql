-- name: replayed_upto
SELECT seq, turn FROM replayed WHERE seq IN (SELECT value FROM json_each(?));

-- name: mark_replayed
INSERT INTO replayed (seq, turn, uid) VALUES (?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET turn = max(turn, excluded.turn), uid = excluded.uid;
