"""The embedded default: one SQLite database in WAL mode, and segment files of vectors beside it."""
