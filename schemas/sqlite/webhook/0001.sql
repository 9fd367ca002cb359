-- The webhook outbox: a message is here before its plan counts as applied, and stays until it is delivered or given up.
CREATE TABLE message (
  endpoint TEXT    NOT NULL,
  id       TEXT    NOT NULL,   -- webhook-id: the receiver drops repeats by it
  body     BLOB    NOT NULL,
  digest   BLOB    NOT NULL,   -- of the body: whoever has the body finds its message
  state    TEXT    NOT NULL,   -- pending | delivered | failed | disabled
  attempts INTEGER NOT NULL DEFAULT 0,
  due      INTEGER NOT NULL,   -- ms since 1970: not sent before
  queued   INTEGER NOT NULL,
  ended    INTEGER,            -- when it was delivered or given up
  detail   TEXT    NOT NULL DEFAULT '',
  PRIMARY KEY (endpoint, id)
);
CREATE INDEX message_due ON message (due) WHERE state = 'pending';
CREATE INDEX message_by_digest ON message (digest);
CREATE INDEX message_ended ON message (ended) WHERE ended IS NOT NULL;
-- Endpoints that answered 410 Gone.
CREATE TABLE disabled (endpoint TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
