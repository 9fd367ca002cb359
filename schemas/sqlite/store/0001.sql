-- The event store: what people and probes ask for. It can be made again from the log; the ledger is the truth about actions.
-- `time` is when it happened (the provider's word), `origin` when its first cause became durable here (ours); ms since 1970.
CREATE TABLE event (
  uid BLOB NOT NULL, time INTEGER NOT NULL, origin INTEGER NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL,
  operation TEXT NOT NULL, severity INTEGER NOT NULL, version INTEGER NOT NULL, bytes TEXT NOT NULL
);
CREATE UNIQUE INDEX event_by_uid ON event (uid);
CREATE INDEX event_by_time ON event (time, uid, tenant, operation, severity);
CREATE INDEX event_by_principal ON event (principal, time, uid);

-- `operation` is the analytic's id.
CREATE TABLE finding (
  uid BLOB NOT NULL, time INTEGER NOT NULL, origin INTEGER NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL,
  operation TEXT NOT NULL, severity INTEGER NOT NULL, version INTEGER NOT NULL, bytes TEXT NOT NULL
);
CREATE UNIQUE INDEX finding_by_uid ON finding (uid);
CREATE INDEX finding_by_time ON finding (time, uid, tenant, operation, severity);
CREATE INDEX finding_by_principal ON finding (principal, time, uid);

-- The newest transition of each plan. `operation` is the action's name, `uid` the plan's.
CREATE TABLE plan (
  uid BLOB NOT NULL, time INTEGER NOT NULL, origin INTEGER NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL,
  operation TEXT NOT NULL, severity INTEGER NOT NULL, version INTEGER NOT NULL, bytes TEXT NOT NULL,
  sequence INTEGER NOT NULL, state TEXT NOT NULL
);
CREATE UNIQUE INDEX plan_by_uid ON plan (uid);
CREATE INDEX plan_by_time ON plan (time, uid);
CREATE INDEX plan_by_state ON plan (state, tenant);

CREATE TABLE transition (
  plan_uid BLOB NOT NULL, sequence INTEGER NOT NULL, version INTEGER NOT NULL, bytes TEXT NOT NULL,
  PRIMARY KEY (plan_uid, sequence)
) WITHOUT ROWID;

-- `operation` is the action's name.
CREATE TABLE receipt (
  uid BLOB NOT NULL, time INTEGER NOT NULL, origin INTEGER NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL,
  operation TEXT NOT NULL, severity INTEGER NOT NULL, version INTEGER NOT NULL, bytes TEXT NOT NULL
);
CREATE UNIQUE INDEX receipt_by_uid ON receipt (uid);
CREATE INDEX receipt_by_time ON receipt (time, uid);

-- `principal` is the source's name, `operation` the reason. A replayed one is kept, but no longer listed.
CREATE TABLE dead_letter (
  uid BLOB NOT NULL, time INTEGER NOT NULL, origin INTEGER NOT NULL, tenant TEXT NOT NULL, principal TEXT NOT NULL,
  operation TEXT NOT NULL, severity INTEGER NOT NULL, version INTEGER NOT NULL, bytes TEXT NOT NULL,
  replayed INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX dead_letter_by_uid ON dead_letter (uid);
CREATE INDEX dead_letter_by_time ON dead_letter (time, uid);

-- The newest risk of each principal. `heat` = log2(score) + time in half-lives: its order is the order of the decayed
-- scores, whenever one looks.
CREATE TABLE risk (
  tenant TEXT NOT NULL, principal TEXT NOT NULL, time INTEGER NOT NULL, score REAL NOT NULL, heat REAL NOT NULL,
  PRIMARY KEY (tenant, principal)
) WITHOUT ROWID;
CREATE INDEX risk_by_heat ON risk (heat);

-- Counts of stored rows, kept in the transaction that stores them, so that the front page never scans.
CREATE TABLE tally (
  tenant TEXT NOT NULL, kind TEXT NOT NULL, word TEXT NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY (tenant, kind, word)
) WITHOUT ROWID;
CREATE TABLE minute (
  minute INTEGER NOT NULL, tenant TEXT NOT NULL, events INTEGER NOT NULL,
  PRIMARY KEY (minute, tenant)
) WITHOUT ROWID;

-- Up to which sequence of the log everything is stored.
CREATE TABLE reader (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
