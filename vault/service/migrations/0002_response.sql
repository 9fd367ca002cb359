-- What the response sets: tokens from before an instant count no more, one session is refused until an instant.

ALTER TABLE users ADD COLUMN tokens_not_before BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN refused_until BIGINT NOT NULL DEFAULT 0;
