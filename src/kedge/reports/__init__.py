"""Status and diffs, for people to read."""
