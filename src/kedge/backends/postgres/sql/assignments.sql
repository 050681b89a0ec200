-- name: assigned
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3;

-- name: newest
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
WHERE seq <= $1 ORDER BY seq DESC LIMIT $2;

-- name: generations
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
WHERE session = ANY ($1::text[]) ORDER BY seq;

-- name: of_units
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM kedge.sessions
WHERE (settings::jsonb ->> 'unit_id') = ANY ($1::text[]) AND settings IS NOT NULL AND seq > $2 AND seq <= $3
ORDER BY seq;

-- name: carried
-- What the writes in the memory of these sessions carry.
SELECT DISTINCT s.space, l.members FROM kedge.spaces s JOIN kedge.counters c ON c.space = s.id
JOIN kedge.lineages l ON l.id = c.lineage WHERE s.store = 'memory' AND s.space = ANY ($1::text[]);
