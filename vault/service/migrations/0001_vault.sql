-- The vault's metadata. TEXT and BIGINT only, so that SQLite and PostgreSQL take the same statements; keys and records
-- are base64, ids and digests hexadecimal, times milliseconds since 1970, where 0 means never.

CREATE TABLE users (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  password TEXT NOT NULL,
  token_version BIGINT NOT NULL,
  locked_until BIGINT NOT NULL,
  step_up_since BIGINT NOT NULL,
  grants_suspended_until BIGINT NOT NULL,
  rotate_since BIGINT NOT NULL,
  wrap_key TEXT NOT NULL,
  sign_key TEXT NOT NULL,
  sealed_identity TEXT NOT NULL,
  created BIGINT NOT NULL
);

-- One chain of refresh tokens. A token that was used already ends the session: one of its two holders is a thief.
CREATE TABLE sessions (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL,
  device TEXT NOT NULL,
  network TEXT NOT NULL,
  refresh TEXT NOT NULL,
  expires BIGINT NOT NULL,
  ended BIGINT NOT NULL,
  authenticated BIGINT NOT NULL,
  created BIGINT NOT NULL
);
CREATE INDEX sessions_of_user ON sessions (user_id);

CREATE TABLE devices (
  id TEXT NOT NULL PRIMARY KEY,
  user_id TEXT NOT NULL,
  first_seen BIGINT NOT NULL
);

CREATE TABLE throttles (
  bucket TEXT NOT NULL PRIMARY KEY,
  failures BIGINT NOT NULL,
  not_before BIGINT NOT NULL,
  touched BIGINT NOT NULL
);

-- A file is visible once its epoch is not 0. An epoch is given out once (next_epoch) and used for one split only.
-- A renewal that waits (for its turn, or for the user's part) stands in tier_wanted and rotate_wanted.
CREATE TABLE files (
  id TEXT NOT NULL PRIMARY KEY,
  owner TEXT NOT NULL,
  label TEXT NOT NULL,
  version BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  next_epoch BIGINT NOT NULL,
  body_epoch BIGINT NOT NULL,
  tier BIGINT NOT NULL,
  tier_since BIGINT NOT NULL,
  tier_wanted BIGINT NOT NULL,
  epoch_since BIGINT NOT NULL,
  rotate_wanted BIGINT NOT NULL,
  class TEXT NOT NULL,
  size BIGINT NOT NULL,
  blob_sha256 TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  created BIGINT NOT NULL,
  changed BIGINT NOT NULL,
  erased BIGINT NOT NULL
);
CREATE INDEX files_of_owner ON files (owner, id);
CREATE INDEX files_to_renew ON files (rotate_wanted, epoch_since);

CREATE TABLE names (
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  file TEXT NOT NULL,
  PRIMARY KEY (owner, name)
);
CREATE INDEX names_of_file ON names (file);

-- The fence: an attempt that the janitor has aborted cannot commit, one that has committed cannot be aborted.
CREATE TABLE attempts (
  file TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  base_epoch BIGINT NOT NULL,
  state TEXT NOT NULL,
  started BIGINT NOT NULL,
  settled BIGINT NOT NULL,
  PRIMARY KEY (file, epoch)
);
CREATE INDEX attempts_by_state ON attempts (state, settled);

-- What the domain of the database keeps: its own part, and the part of each user who may open the file.
CREATE TABLE parts (
  file TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  holder TEXT NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (file, epoch, holder)
);

CREATE TABLE grants (
  id TEXT NOT NULL PRIMARY KEY,
  file TEXT NOT NULL,
  owner TEXT NOT NULL,
  recipient TEXT NOT NULL,
  mode TEXT NOT NULL,
  expires BIGINT NOT NULL,
  downloads_left BIGINT NOT NULL,
  revoked BIGINT NOT NULL,
  signed TEXT NOT NULL,
  rekey TEXT NOT NULL,
  created BIGINT NOT NULL
);
CREATE INDEX grants_of_file ON grants (file, recipient);
CREATE INDEX grants_of_recipient ON grants (recipient);

-- Actions of the response, so that the same one twice is one.
CREATE TABLE actions (
  id TEXT NOT NULL PRIMARY KEY,
  operation TEXT NOT NULL,
  target TEXT NOT NULL,
  reason TEXT NOT NULL,
  expires BIGINT NOT NULL,
  done BIGINT NOT NULL
);

CREATE TABLE counters (
  name TEXT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('outbox', 0), ('delivered', 0);

-- Written in the transaction of what it tells; from here to the ledger and to the pipeline.
CREATE TABLE outbox (
  seq BIGINT NOT NULL PRIMARY KEY,
  id TEXT NOT NULL,
  time BIGINT NOT NULL,
  kind TEXT NOT NULL,
  body TEXT NOT NULL
);

CREATE TABLE ledger (
  seq BIGINT NOT NULL PRIMARY KEY,
  entry TEXT NOT NULL,
  hash TEXT NOT NULL,
  leaf TEXT NOT NULL
);

CREATE TABLE settings (
  name TEXT NOT NULL PRIMARY KEY,
  value TEXT NOT NULL
);
