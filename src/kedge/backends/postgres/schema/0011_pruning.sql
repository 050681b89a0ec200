-- Entries of sessions that were forgotten may be deleted. How many were, and up to where, is in `meta`.
CREATE TRIGGER control_log_is_kept BEFORE DELETE ON kedge.control_log FOR EACH ROW WHEN (OLD.kind <> 'session')
EXECUTE FUNCTION kedge.refuse_change();

DROP TRIGGER control_log_is_immutable ON kedge.control_log;

CREATE TRIGGER control_log_is_immutable BEFORE UPDATE ON kedge.control_log FOR EACH ROW
EXECUTE FUNCTION kedge.refuse_change();

-- Who called the turns of a lineage.
CREATE INDEX turns_called ON kedge.turns (lineage, parent) WHERE parent IS NOT NULL;
