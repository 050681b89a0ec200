"""Moving a database from SQLite, and to it."""

from kedge.backends.sqlite.moving.exporter import SqliteExporter
from kedge.backends.sqlite.moving.importer import SqliteImporter

__all__ = ["SqliteExporter", "SqliteImporter"]
