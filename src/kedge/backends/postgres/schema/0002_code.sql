-- What code a member runs: a JSON object of agents to digests, or of "*" to one digest for all.
ALTER TABLE kedge.members ADD COLUMN code TEXT COLLATE "C" NOT NULL DEFAULT '{}';
