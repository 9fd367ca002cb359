-- Hot state: from when on a principal's tokens are accepted, in ms since 1970. No row: never revoked.
CREATE TABLE token (
  tenant     TEXT    NOT NULL,
  principal  TEXT    NOT NULL,
  not_before INTEGER NOT NULL,
  version    INTEGER NOT NULL,
  PRIMARY KEY (tenant, principal)
) WITHOUT ROWID;
