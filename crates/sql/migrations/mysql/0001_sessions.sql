-- Cloakroom sessions, schema 1. Instants and durations are milliseconds.
-- This is what migrate() runs; it may be run by hand instead.
CREATE TABLE IF NOT EXISTS `cloakroom_sessions_schema` (
    version BIGINT NOT NULL PRIMARY KEY
) ENGINE = InnoDB;
CREATE TABLE IF NOT EXISTS `cloakroom_sessions` (
    digest BINARY(32) NOT NULL PRIMARY KEY,
    format SMALLINT NOT NULL,
    -- Not null in a rotation mark: where the session has moved to.
    moved_to BINARY(32),
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL CHECK (created_at >= 0),
    last_seen_at BIGINT NOT NULL CHECK (last_seen_at >= 0),
    expires_at BIGINT NOT NULL CHECK (expires_at >= 0),
    absolute_deadline BIGINT CHECK (absolute_deadline >= 0),
    -- UTF-8, in bytes: any text, compared byte by byte.
    -- `expiry` is what the session chose for itself, such as `idle:60000`.
    expiry VARBINARY(256),
    site VARBINARY(256),
    subject VARBINARY(256),
    -- SHA-256 over site and subject: what the lists go by.
    subject_digest BINARY(32),
    label VARBINARY(256),
    -- A record goes up to 16 MiB: the server's max_allowed_packet bounds it too.
    data LONGBLOB NOT NULL,
    CHECK (moved_to IS NULL OR subject IS NULL),
    CHECK ((subject IS NULL) = (subject_digest IS NULL)),
    INDEX `cloakroom_sessions_expires_at` (expires_at),
    INDEX `cloakroom_sessions_subject` (subject_digest)
) ENGINE = InnoDB;
INSERT IGNORE INTO `cloakroom_sessions_schema` (version) VALUES (1);
