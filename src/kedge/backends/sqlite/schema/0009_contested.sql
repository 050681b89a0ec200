-- Superseders may be null: a contested row, which the heads of its key decide. A retired state takes no more rows, and
-- is deleted when none is in it.
ALTER TABLE states ADD COLUMN retired INTEGER NOT NULL DEFAULT 0;
