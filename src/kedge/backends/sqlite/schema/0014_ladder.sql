-- Requests for approval. `about` is what a request is bound to; `body` is all of it.
CREATE TABLE level_requests (
    id     TEXT PRIMARY KEY,
    kind   TEXT NOT NULL,
    about  TEXT NOT NULL,
    status TEXT NOT NULL,
    at     REAL NOT NULL,
    body   BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX level_requests_open ON level_requests (about, at) WHERE status IN ('pending', 'approved');

-- Turns to which a derived write was refused: their inputs are replayed once the level is back.
CREATE INDEX edges_refused ON edges (turn) WHERE kind = 'refused';
