-- Kedge schema 2: the payload fields that a collection declares for its filters, as a JSON list.

ALTER TABLE collections ADD COLUMN fields TEXT NOT NULL DEFAULT '[]';
