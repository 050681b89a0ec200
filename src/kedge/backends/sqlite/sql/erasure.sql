-- name: last_write
SELECT coalesce(max(seq), 0) FROM writes;

-- name: erase
UPDATE writes SET payload = NULL, salt = NULL
WHERE seq BETWEEN ?1 AND ?2 AND lineage IN (SELECT value FROM json_each(?3)) AND salt IS NOT NULL;

-- name: erase_heads
DELETE FROM heads WHERE lineage IN (SELECT value FROM json_each(?));

-- name: erase_cache
DELETE FROM cache WHERE lineage IN (SELECT value FROM json_each(?));

-- name: erase_samples
-- Kedge's own are counts of verdicts, without content.
DELETE FROM observations WHERE lineage IN (SELECT value FROM json_each(?)) AND metric NOT GLOB 'kedge:*';

-- name: largest_part
-- The most bytes of content that one part erases.
SELECT coalesce(max(bytes), 0) FROM (
    SELECT sum(coalesce(length(payload), 0) + 512) AS bytes FROM writes
    WHERE lineage IN (SELECT value FROM json_each(?1)) AND salt IS NOT NULL GROUP BY seq / ?2
);
