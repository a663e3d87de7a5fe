-- Cloakroom sessions, schema 1. Instants and durations are milliseconds.
-- This is what migrate() runs; it may be run by hand instead.
CREATE TABLE IF NOT EXISTS "cloakroom_sessions_schema" (
    version BIGINT NOT NULL PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS "cloakroom_sessions" (
    digest BYTEA NOT NULL PRIMARY KEY CHECK (octet_length(digest) = 32),
    format SMALLINT NOT NULL,
    -- Not null in a rotation mark: where the session has moved to.
    moved_to BYTEA CHECK (octet_length(moved_to) = 32),
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    last_seen_at BIGINT NOT NULL CHECK (last_seen_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0),
    absolute_deadline BIGINT CHECK (absolute_deadline >= 0),
    idle_override BIGINT CHECK (idle_override >= 0),
    ends_with_browser SMALLINT NOT NULL CHECK (ends_with_browser IN (0, 1)),
    -- UTF-8, in bytes: any text, compared byte by byte.
    subject BYTEA CHECK (octet_length(subject) <= 256),
    label BYTEA CHECK (octet_length(label) <= 256),
    data BYTEA NOT NULL,
    CHECK (moved_to IS NULL OR subject IS NULL)
);
CREATE INDEX IF NOT EXISTS "cloakroom_sessions_expires_at"
    ON "cloakroom_sessions" (expires_at);
CREATE INDEX IF NOT EXISTS "cloakroom_sessions_subject"
    ON "cloakroom_sessions" (subject) WHERE subject IS NOT NULL;
INSERT INTO "cloakroom_sessions_schema" (version) VALUES (1) ON CONFLICT DO NOTHING;
