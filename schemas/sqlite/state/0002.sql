-- What applications must honour about accounts: `locked_until`, `step_up_since`, `session/<credential id>`; values in ms since 1970.
CREATE TABLE setting (
  tenant    TEXT    NOT NULL,
  principal TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  value     INTEGER NOT NULL,
  version   INTEGER NOT NULL,
  PRIMARY KEY (tenant, principal, name)
) WITHOUT ROWID;
