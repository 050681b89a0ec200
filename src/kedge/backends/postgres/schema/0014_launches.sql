-- Launches, and the lease of the pilot of each. `version` counts the looks; `done`: the last one whose actions are done.
CREATE TABLE kedge.launches (
    name       TEXT COLLATE "C" PRIMARY KEY,
    digest     TEXT COLLATE "C" NOT NULL,
    release    BYTEA NOT NULL,
    state      BYTEA NOT NULL,
    version    BIGINT NOT NULL,
    done       BIGINT NOT NULL,
    phase      TEXT COLLATE "C" NOT NULL,
    blocks     BOOLEAN NOT NULL,
    trouble    TEXT NOT NULL,
    begun_at   DOUBLE PRECISION NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL,
    begun_by   TEXT COLLATE "C" NOT NULL,
    holder     TEXT COLLATE "C",
    host       TEXT COLLATE "C",
    until      DOUBLE PRECISION
);

-- What people asked of a launch.
CREATE TABLE kedge.launch_requests (
    launch TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    at     DOUBLE PRECISION NOT NULL,
    body   BYTEA NOT NULL,
    PRIMARY KEY (launch, number)
);
