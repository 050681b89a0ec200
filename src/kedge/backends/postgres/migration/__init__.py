"""Migration of a database from PostgreSQL, and to it."""

from kedge.backends.postgres.migration.exporter import PostgresExporter
from kedge.backends.postgres.migration.importer import PostgresImporter

__all__ = ["PostgresExporter", "PostgresImporter"]
