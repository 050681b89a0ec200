"""Moving a database from PostgreSQL, and to it."""

from kedge.backends.postgres.moving.exporter import PostgresExporter
from kedge.backends.postgres.moving.importer import PostgresImporter

__all__ = ["PostgresExporter", "PostgresImporter"]
