BEGIN TRANSACTION;
CREATE TABLE documents (
    partition TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    etag TEXT NOT NULL,
    body TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (partition, id)
);
INSERT INTO "documents" VALUES('run-1','run','run','2026-01-01T00:00:00+00:00','362a677c324b4ed3bb6bf299e5f68b6f','{"id":"run","type":"run","run_id":"run-1","project":"shop","status":"deployed","finished":1,"created_at":"2026-01-01T00:00:00+00:00"}',NULL);
INSERT INTO "documents" VALUES('run-1','outbox.1','outbox','2026-01-01T00:00:00+00:00','14bea715c9b249d8809978eeb74e3b18','{"id":"outbox.1","type":"outbox","run_id":"run-1","sent":0,"created_at":"2026-01-01T00:00:00+00:00"}',NULL);
INSERT INTO "documents" VALUES('run-1','inbox.1','inbox','','abda404ba48844afa5e42d3e4deb6b35','{"id":"inbox.1","type":"inbox"}',1767225660000000);
CREATE INDEX documents_by_type ON documents (type, created_at DESC, id, partition);
CREATE INDEX documents_by_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL
;
COMMIT;
PRAGMA user_version = 1;
