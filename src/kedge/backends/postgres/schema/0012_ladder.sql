-- Requests for approval. `about` is what a request is bound to; `body` is all of it.
CREATE TABLE kedge.level_requests (
    id     TEXT COLLATE "C" PRIMARY KEY,
    kind   TEXT COLLATE "C" NOT NULL,
    about  TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    at     DOUBLE PRECISION NOT NULL,
    body   BYTEA NOT NULL
);

CREATE INDEX level_requests_open ON kedge.level_requests (about, at) WHERE status IN ('pending', 'approved');

CREATE TRIGGER fence BEFORE INSERT OR UPDATE ON kedge.level_requests FOR EACH STATEMENT
EXECUTE FUNCTION kedge.check_writer();

-- Turns to which a derived write was refused: their inputs are replayed once the level is back.
CREATE INDEX edges_refused ON kedge.edges (turn) WHERE kind = 'refused';
