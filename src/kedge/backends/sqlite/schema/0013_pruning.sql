-- Entries of sessions that were forgotten may be deleted. How many were, and up to where, is in `meta`.
DROP TRIGGER control_log_is_kept;

CREATE TRIGGER control_log_is_kept BEFORE DELETE ON control_log WHEN OLD.kind <> 'session'
BEGIN
    SELECT RAISE(ABORT, 'a journal entry is never deleted');
END;

-- Who called the turns of a lineage.
CREATE INDEX turns_called ON turns (lineage, parent) WHERE parent IS NOT NULL;
