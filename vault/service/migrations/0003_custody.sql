-- What custody has to know of its own past.

-- The oldest version of the domains' keys that the parts of this epoch may be sealed under; 0: not known.
ALTER TABLE attempts ADD COLUMN keys_since BIGINT NOT NULL DEFAULT 0;

-- Since when a higher tier is wanted: the day before it may be lowered begins then, and not when its split is done.
ALTER TABLE files ADD COLUMN tier_wanted_since BIGINT NOT NULL DEFAULT 0;
