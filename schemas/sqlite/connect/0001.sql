-- Where each source stands, and how it fares. The cursor is the source's own text; everything before it is durable.
CREATE TABLE source (
  name       TEXT    NOT NULL PRIMARY KEY,
  cursor     TEXT    NOT NULL,
  -- When the cursor moved last, and up to when the source was read, in ms since 1970; 0: never.
  updated    INTEGER NOT NULL,
  newest     INTEGER NOT NULL,
  bodies     INTEGER NOT NULL,
  records    INTEGER NOT NULL,
  duplicates INTEGER NOT NULL,
  rejected   INTEGER NOT NULL,
  -- Files that the provider says it wrote, and how many of them were read.
  written    INTEGER NOT NULL,
  read       INTEGER NOT NULL,
  -- What keeps the source from being read, and since when it does so without a break. Empty: nothing.
  problem    TEXT    NOT NULL,
  failing    INTEGER NOT NULL
) WITHOUT ROWID;
