-- The ledger: entries are only ever added. `leaf` spares a start from hashing every body; the verifier does not trust it.
CREATE TABLE entry (
  number INTEGER PRIMARY KEY,  -- from 0
  time   INTEGER NOT NULL,
  kind   TEXT    NOT NULL,
  id     BLOB    NOT NULL,
  body   BLOB    NOT NULL,
  prev   BLOB    NOT NULL,
  hash   BLOB    NOT NULL,
  leaf   BLOB    NOT NULL,
  UNIQUE (kind, id)
);
-- Signed checkpoints: one for each transaction that added entries.
CREATE TABLE checkpoint (size INTEGER PRIMARY KEY, note TEXT NOT NULL);
-- Orders whose entry is durable and whose reply is not. `started`: an attempt may have reached the provider.
CREATE TABLE pending (
  id BLOB PRIMARY KEY, number INTEGER NOT NULL, bytes BLOB NOT NULL, started INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
-- Up to which sequence of the log everything is in the ledger.
CREATE TABLE reader (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
