-- One statement for each new column that old rows must have a value in: it fills in at most $1 rows that lack one
-- (NULL: all of them). `kedge upgrade` repeats it until none is left, and once more as it raises the fence. So its
-- migration raises `WRITER`, and has an index of the rows that lack a value: each batch looks for the next ones.

-- name: session_names
INSERT INTO kedge.session_names (session)
SELECT DISTINCT t.session FROM kedge.turns t
WHERE length(t.session) > 64 AND NOT EXISTS (SELECT 1 FROM kedge.session_names n WHERE n.session = t.session)
LIMIT $1::int8
ON CONFLICT DO NOTHING;

-- name: session_aliases
UPDATE kedge.turns t SET session = chr(16) || '#' || n.id FROM kedge.session_names n
WHERE n.session = t.session AND t.id IN (
    SELECT o.id FROM kedge.turns o JOIN kedge.session_names m ON m.session = o.session
    WHERE length(o.session) > 64 LIMIT $1::int8
);
