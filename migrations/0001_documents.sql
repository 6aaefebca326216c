-- Only TEXT and BIGINT: what SQLite and PostgreSQL spell and mean alike. Times are milliseconds since 1970.

-- One row. Every transaction increments it first; its lock makes the order of commits the order of revisions.
CREATE TABLE counter (
    one BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    -- `change` holds everything after this revision, and nothing up to it.
    reaches_back_to BIGINT NOT NULL
);
INSERT INTO counter (one, revision, reaches_back_to) VALUES (1, 0, 0);

CREATE TABLE document (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);

-- A name that at most one document holds.
CREATE TABLE handle (
    space TEXT NOT NULL,
    value TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (space, value)
);
CREATE INDEX handle_of ON handle (kind, id);

CREATE TABLE change (
    revision BIGINT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (revision, kind, id)
);

-- When and from where a device was seen: no decision rests on it, so it has neither version nor revision.
CREATE TABLE sighting (
    device TEXT PRIMARY KEY,
    first_body TEXT NOT NULL,
    last_at BIGINT NOT NULL,
    last_body TEXT NOT NULL
);
