"""Migration of a database from SQLite, and to it."""

from kedge.backends.sqlite.migration.exporter import SqliteExporter
from kedge.backends.sqlite.migration.importer import SqliteImporter

__all__ = ["SqliteExporter", "SqliteImporter"]
