-- Cloakroom sessions, schema 1. Instants and durations are milliseconds.
-- The store makes this when it is opened; it may be run by hand instead.
CREATE TABLE IF NOT EXISTS "cloakroom_sessions_schema" (
    version INTEGER NOT NULL PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS "cloakroom_sessions" (
    digest BLOB NOT NULL PRIMARY KEY CHECK (typeof(digest) = 'blob' AND length(digest) = 32),
    format INTEGER NOT NULL,
    -- Where the session has moved to: not NULL in a rotation mark alone.
    moved_to BLOB CHECK (length(moved_to) = 32),
    -- Why the session has ended, such as logged_out: not NULL in a tombstone alone. There
    -- last_seen_at is when it ended, expires_at until when that is remembered, label a note,
    -- and data the subject_digest that it had, or nothing.
    ended BLOB CHECK (length(ended) <= 64),
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    last_seen_at INTEGER NOT NULL CHECK (last_seen_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    absolute_deadline INTEGER CHECK (absolute_deadline >= 0),
    -- Texts are UTF-8 in bytes, so that any text fits and compares byte by byte.
    -- The lifetime that the session chose for itself, such as idle:60000; NULL is the
    -- policy's.
    expiry BLOB CHECK (length(expiry) <= 256),
    -- NULL is the default site.
    site BLOB CHECK (length(site) <= 256),
    subject BLOB CHECK (length(subject) <= 256),
    -- SHA-256 over site and subject: the sessions of a subject are listed by it.
    subject_digest BLOB CHECK (length(subject_digest) = 32),
    label BLOB CHECK (length(label) <= 256),
    -- How often the session was flushed and went on.
    flushes INTEGER NOT NULL DEFAULT 0 CHECK (flushes >= 0),
    -- How the subject logged in, and what the session is tied to.
    login BLOB CHECK (length(login) <= 1024),
    data BLOB NOT NULL,
    CHECK (moved_to IS NULL OR subject IS NULL),
    CHECK (ended IS NULL OR (moved_to IS NULL AND subject IS NULL)),
    CHECK ((subject IS NULL) = (subject_digest IS NULL))
);
CREATE INDEX IF NOT EXISTS "cloakroom_sessions_expires_at"
    ON "cloakroom_sessions" (expires_at);
CREATE INDEX IF NOT EXISTS "cloakroom_sessions_subject"
    ON "cloakroom_sessions" (subject_digest, digest) WHERE subject_digest IS NOT NULL;
INSERT OR IGNORE INTO "cloakroom_sessions_schema" (version) VALUES (1);
