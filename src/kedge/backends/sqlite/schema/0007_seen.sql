-- What turns saw: the revocable deployments in their views as they began, interned (a sorted JSON list). Id 0 is none.
CREATE TABLE seen_sets (
    id      INTEGER PRIMARY KEY,
    members TEXT NOT NULL UNIQUE
);

INSERT INTO seen_sets (id, members) VALUES (0, '[]');

-- NULL: a turn from before this schema; what it saw is not known.
ALTER TABLE turns ADD COLUMN seen INTEGER;

CREATE INDEX turns_by_agent ON turns (agent, seen);

-- Turns of agents whose views are not known; the author of a control change has a colon in its uid.
CREATE INDEX turns_unknown ON turns (id) WHERE seen IS NULL AND person IS NULL AND instr(uid, ':') = 0;
