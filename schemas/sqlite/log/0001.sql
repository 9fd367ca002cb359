-- The embedded log: batches in one total order, where each reader stands, and what each reader remembers.
CREATE TABLE batch (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  topic    INTEGER NOT NULL,
  at       INTEGER NOT NULL,  -- ms since 1970, when it became durable
  count    INTEGER NOT NULL,  -- messages in it
  bytes    BLOB    NOT NULL
);
CREATE INDEX batch_by_topic ON batch (topic, sequence);
CREATE TABLE reader (
  name     TEXT PRIMARY KEY,
  position INTEGER NOT NULL   -- everything up to this sequence is consumed
) WITHOUT ROWID;
CREATE TABLE snapshot (
  reader   TEXT    NOT NULL,
  position INTEGER NOT NULL,
  bytes    BLOB    NOT NULL,
  PRIMARY KEY (reader, position)
);
