-- Who signs here: one key for the whole installation, whose name starts the name of every tenant's ledger.
CREATE TABLE authority (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  verifier text NOT NULL
);
-- The newest owner of each input, and up to where everything of that input is in the ledgers.
CREATE TABLE sequencer (
  source   text PRIMARY KEY,
  epoch    bigint NOT NULL,
  position bigint NOT NULL DEFAULT 0
);
-- A ledger for each tenant. It belongs to one input, so that it has one writer.
CREATE TABLE ledger (
  tenant   text PRIMARY KEY,
  source   text NOT NULL REFERENCES sequencer,
  verifier text NOT NULL
);
-- Entries are only ever added. `leaf` spares a start from hashing every body; the verifier does not trust it.
CREATE TABLE entry (
  tenant text   NOT NULL REFERENCES ledger,
  number bigint NOT NULL,  -- from 0
  time   bigint NOT NULL,
  kind   text   NOT NULL,
  id     bytea  NOT NULL,
  body   bytea  NOT NULL,
  prev   bytea  NOT NULL,
  hash   bytea  NOT NULL,
  leaf   bytea  NOT NULL,
  PRIMARY KEY (tenant, number),
  UNIQUE (tenant, kind, id)
);
-- Signed checkpoints: one for each transaction that added entries.
CREATE TABLE checkpoint (
  tenant text   NOT NULL REFERENCES ledger,
  size   bigint NOT NULL,
  note   text   NOT NULL,
  PRIMARY KEY (tenant, size)
);
-- Orders whose entry is durable and whose reply is not. `started`: an attempt may have reached the provider.
CREATE TABLE pending (
  id      bytea   PRIMARY KEY,
  ordinal bigint  GENERATED ALWAYS AS IDENTITY,
  source  text    NOT NULL REFERENCES sequencer,
  tenant  text    NOT NULL REFERENCES ledger,
  bytes   bytea   NOT NULL,
  started boolean NOT NULL DEFAULT false
);
CREATE INDEX pending_of_source ON pending (source, ordinal);
-- Whether every action is stopped, asked right before each step. No row: it never was.
CREATE TABLE kill_switch (
  one     boolean PRIMARY KEY DEFAULT true CHECK (one),
  engaged boolean NOT NULL,
  by      text    NOT NULL
);
