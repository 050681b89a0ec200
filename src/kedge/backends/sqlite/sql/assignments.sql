-- name: assigned
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM sessions
WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3;

-- name: newest
SELECT session, generation, seq, epoch, at, base, opened_with, settings, ended FROM sessions
WHERE seq <= ?1 ORDER BY seq DESC LIMIT ?2;

-- name: generations
SELECT s.session, s.generation, s.seq, s.epoch, s.at, s.base, s.opened_with, s.settings, s.ended
FROM json_each(?) n CROSS JOIN sessions s ON s.session = n.value ORDER BY s.seq;

-- name: of_units
SELECT s.session, s.generation, s.seq, s.epoch, s.at, s.base, s.opened_with, s.settings, s.ended
FROM json_each(?1) n
CROSS JOIN sessions s ON json_extract(s.settings, '$.unit_id') = n.value AND s.settings IS NOT NULL
WHERE s.seq > ?2 AND s.seq <= ?3 ORDER BY s.seq;

-- name: carried
-- What the writes in the memory of these sessions carry.
SELECT DISTINCT s.space, l.members FROM json_each(?) n CROSS JOIN spaces s ON s.store = 'memory' AND s.space = n.value
CROSS JOIN counters c ON c.space = s.id JOIN lineages l ON l.id = c.lineage;
