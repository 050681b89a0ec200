-- Entries of sessions that were forgotten may be deleted. How many were, and up to where, is in `meta`.
CREATE TRIGGER control_log_is_kept BEFORE DELETE ON kedge.control_log FOR EACH ROW WHEN (OLD.kind <> 'session')
EXECUTE FUNCTION kedge.refuse_change();

DROP TRIGGER control_log_is_immutable ON kedge.control_log;

CREATE TRIGGER control_log_is_immutable BEFORE UPDATE ON kedge.control_log FOR EACH ROW
EXECUTE FUNCTION kedge.refuse_change();

-- Who called the turns of a lineage.
CREATE INDEX turns_called ON kedge.turns (lineage, parent) WHERE parent IS NOT NULL;

-- Rebuildable from the log: changes whose last step is not there yet, and the external systems that must follow them
-- (a JSON object of names to artifact keys). Complete once the fence is at 4.
CREATE TABLE kedge.unfinished (
    operation TEXT COLLATE "C" PRIMARY KEY,
    kind      TEXT COLLATE "C" NOT NULL,
    seq       BIGINT NOT NULL,
    wanted    BYTEA NOT NULL
);
