-- Raised by a caller that gives up a write of one statement whose answer was lost: if that write arrives afterwards, it
-- does nothing. A sequence, because others see it at once, not from a commit on; called once, because the first call
-- leaves its value as it is.
CREATE SEQUENCE kedge.fences;

SELECT nextval('kedge.fences');

-- One write in one statement. The caller has assumed that the control record is at `_epoch` and the fence at `_fence`,
-- that no other lineage has a head at the key, that the head of its own lineage is `_expected` (0: absent, NULL: any),
-- and that `_once` is unused. Returns the seq; or NULL, and does nothing, where one of these does not hold.
-- `_name` NULL is named after its seq, as a message is (`model.writes.memory_name`). Never by a sequential scan: a
-- connection keeps its plans, and those of tables that were all but empty would cost with every row that comes.
CREATE FUNCTION kedge.append_one(
    _lanes BIGINT[], _epoch BIGINT, _fence BIGINT, _expected BIGINT, _now DOUBLE PRECISION, _tick DOUBLE PRECISION,
    _space BIGINT, _name TEXT, _lineage BIGINT, _state BIGINT, _deleted BOOLEAN, _source BOOLEAN, _stamp BIGINT,
    _fresh_for DOUBLE PRECISION, _digest BYTEA, _salt BYTEA, _payload BYTEA, _turn BIGINT, _reads BYTEA, _once TEXT
) RETURNS BIGINT LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    _held BIGINT;
    _seq BIGINT;
    _at DOUBLE PRECISION;
BEGIN
    -- Each statement sees what was committed when it began. Asked twice: who comes in vain takes no lock, and who had to
    -- wait for a lane sees what was done meanwhile.
    SELECT count(*) INTO _held FROM (
        SELECT l.id FROM kedge.lanes l
        WHERE l.id = ANY (_lanes)
          AND NOT EXISTS (
            SELECT 1 FROM kedge.heads h WHERE h.space = _space AND h.name = _name AND h.lineage <> _lineage
        )
        ORDER BY l.id FOR UPDATE
    ) held;
    IF _held = 0 THEN
        RETURN NULL;
    END IF;
    SELECT nextval('kedge.seqs'), round(greatest(
        coalesce(_now, extract(epoch FROM clock_timestamp())::float8),
        (SELECT w.at + _tick FROM kedge.writes w ORDER BY w.seq DESC LIMIT 1),
        (SELECT e.at + _tick FROM kedge.control_log e ORDER BY e.seq DESC LIMIT 1)
    ) * 1e6) / 1e6
    INTO _seq, _at
    FROM kedge.control c
    WHERE c.epoch = _epoch
      AND (SELECT f.last_value FROM kedge.fences f) = _fence
      AND NOT EXISTS (
        SELECT 1 FROM kedge.heads h WHERE h.space = _space AND h.name = _name AND h.lineage <> _lineage
      )
      AND (_expected IS NULL OR _expected = coalesce((
        SELECT h.seq FROM kedge.heads h WHERE h.space = _space AND h.name = _name AND h.lineage = _lineage
      ), 0))
      AND (_once IS NULL OR NOT EXISTS (SELECT 1 FROM kedge.idempotency i WHERE i.key = _once));
    IF _seq IS NULL THEN
        RETURN NULL;
    END IF;
    _name := coalesce(_name, lpad(to_hex(_seq), 16, '0') || '.' || lpad(to_hex(_seq), 16, '0'));
    INSERT INTO kedge.writes
        (seq, space, name, lineage, rank, deleted, source, provenance, fresh_for, digest, salt, payload, turn, at)
    VALUES (_seq, _space, _name, _lineage, _seq, _deleted, _source, _stamp, _fresh_for, _digest, _salt, _payload, _turn, _at);
    INSERT INTO kedge.heads (space, name, lineage, rank, seq, deleted, state)
    VALUES (_space, _name, _lineage, _seq, _seq, _deleted, _state)
    ON CONFLICT (space, name, lineage) DO UPDATE
    SET rank = excluded.rank, seq = excluded.seq, deleted = excluded.deleted, state = excluded.state;
    INSERT INTO kedge.counters (space, lineage, lane, puts, deletes)
    VALUES (_space, _lineage, _lanes[1], CASE WHEN _deleted THEN 0 ELSE 1 END, CASE WHEN _deleted THEN 1 ELSE 0 END)
    ON CONFLICT (space, lineage, lane) DO UPDATE
    SET puts = counters.puts + excluded.puts, deletes = counters.deletes + excluded.deletes;
    IF _reads IS NOT NULL THEN
        INSERT INTO kedge.reads (turn, before_seq, reads) VALUES (_turn, _seq, _reads);
    END IF;
    IF _once IS NOT NULL THEN
        INSERT INTO kedge.idempotency (key, seqs, lineage)
        VALUES (_once, ARRAY[_seq], CASE WHEN _source THEN 0 ELSE _stamp END);
    END IF;
    RETURN _seq;
END $$;
