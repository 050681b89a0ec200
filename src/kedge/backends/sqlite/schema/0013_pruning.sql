-- Entries of sessions that were forgotten may be deleted. How many were, and up to where, is in `meta`.
DROP TRIGGER control_log_is_kept;

CREATE TRIGGER control_log_is_kept BEFORE DELETE ON control_log WHEN OLD.kind <> 'session'
BEGIN
    SELECT RAISE(ABORT, 'a journal entry is never deleted');
END;

-- Who called the turns of a lineage.
CREATE INDEX turns_called ON turns (lineage, parent) WHERE parent IS NOT NULL;

-- Rebuildable from the log: changes whose last step is not there yet, and the external systems that must follow them
-- (a JSON object of names to artifact keys). Complete once the fence is at 4.
CREATE TABLE unfinished (
    operation TEXT PRIMARY KEY,
    kind      TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    wanted    TEXT NOT NULL
) WITHOUT ROWID;
