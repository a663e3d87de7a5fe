-- Cloakroom sessions, schema 1. Instants and durations are milliseconds.
-- This is what migrate() runs; it may be run by hand instead.
CREATE TABLE IF NOT EXISTS `cloakroom_sessions_schema` (
    version BIGINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS `cloakroom_sessions` (
    digest BINARY(32) NOT NULL PRIMARY KEY,
    format SMALLINT NOT NULL,
    -- Where the session has moved to: not NULL in a rotation mark alone.
    moved_to BINARY(32),
    -- Why the session has ended, such as logged_out: not NULL in a tombstone alone. There
    -- last_seen_at is when it ended, expires_at until when that is remembered, label a note,
    -- and data the subject_digest that it had, or nothing.
    ended VARBINARY(64),
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    last_seen_at BIGINT NOT NULL CHECK (last_seen_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0),
    absolute_deadline BIGINT CHECK (absolute_deadline >= 0),
    -- Texts are UTF-8 in bytes, so that any text fits and compares byte by byte.
    -- The lifetime that the session chose for itself, such as idle:60000; NULL is the
    -- policy's.
    expiry VARBINARY(256),
    -- NULL is the default site.
    site VARBINARY(256),
    subject VARBINARY(256),
    -- SHA-256 over site and subject: the sessions of a subject are listed by it.
    subject_digest BINARY(32),
    label VARBINARY(256),
    -- How often the session was flushed and went on.
    flushes BIGINT NOT NULL DEFAULT 0 CHECK (flushes >= 0),
    -- How the subject logged in, and what the session is tied to.
    login VARBINARY(1024),
    -- At most 16 MiB in a record; the server's max_allowed_packet may allow less.
    data LONGBLOB NOT NULL,
    CHECK (moved_to IS NULL OR subject IS NULL),
    CHECK (ended IS NULL OR (moved_to IS NULL AND subject IS NULL)),
    CHECK ((subject IS NULL) = (subject_digest IS NULL)),
    INDEX `cloakroom_sessions_expires_at` (expires_at),
    INDEX `cloakroom_sessions_subject` (subject_digest, digest)
) ENGINE = InnoDB;
INSERT IGNORE INTO `cloakroom_sessions_schema` (version) VALUES (1);
