"""SQLite backend: one database file in WAL mode, with segment files of vectors beside it."""
