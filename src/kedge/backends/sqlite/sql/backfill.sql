-- One statement for each new column that old rows must have a value in: it fills in at most ? rows that lack one
-- (-1: all of them). `kedge upgrade` repeats it until none is left, and once more as it raises the fence. So its
-- migration raises `WRITER`, and has an index of the rows that lack a value: each batch looks for the next ones.

-- name: session_names
INSERT INTO session_names (session)
SELECT DISTINCT t.session FROM turns t INDEXED BY turns_unaliased
WHERE length(t.session) > 64 AND t.session NOT IN (SELECT session FROM session_names) LIMIT ?;

-- name: session_aliases
UPDATE turns SET session = char(16) || '#' || (SELECT n.id FROM session_names n WHERE n.session = turns.session)
WHERE id IN (
    SELECT t.id FROM turns t INDEXED BY turns_unaliased JOIN session_names n ON n.session = t.session
    WHERE length(t.session) > 64 LIMIT ?
);
