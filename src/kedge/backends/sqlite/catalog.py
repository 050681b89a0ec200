"""Catalog of vector collections: the `collections` table of one SQLite database."""

import json

import msgspec

from kedge.backends.sqlite.database import Database
from kedge.backends.sqlite.sql import queries
from kedge.errors import Conflict
from kedge.ports.vectors import Collection

_SQL = queries("vectors")


class Catalog:
    """The declared collections. Every vector engine on SQLite shares it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(self, collection: Collection, at: float) -> Collection:
        """Record a collection, or add its fields to the existing one of that name; return the stored collection."""
        found = self.collection(collection.name)
        if found is None or not set(collection.fields) <= set(found.fields):
            with self._database.writing("collection") as connection:
                settings = (collection.name, collection.dim, collection.metric, collection.embedder, at)
                connection.execute(_SQL["collection_insert"], settings)
                found = _collection(connection.execute(_SQL["collection"], (collection.name,)).fetchone())
                _check_same(found, collection)
                found = msgspec.structs.replace(found, fields=(*dict.fromkeys((*found.fields, *collection.fields)),))
                connection.execute(_SQL["collection_fields"], (json.dumps(found.fields), found.name))
        _check_same(found, collection)
        return found

    def collection(self, name: str) -> Collection | None:
        """Return a collection, or None."""
        with self._database.connection() as connection:
            row = connection.execute(_SQL["collection"], (name,)).fetchone()
        return None if row is None else _collection(row)

    def collections(self) -> list[Collection]:
        """Return all collections, ordered by name."""
        with self._database.connection() as connection:
            return [_collection(row) for row in connection.execute(_SQL["collections"])]


def _collection(row: tuple[str, int, str, str, str]) -> Collection:
    name, dim, metric, embedder, fields = row
    return Collection(name, dim, metric, embedder, tuple(json.loads(fields)))


def _check_same(found: Collection, wanted: Collection) -> None:
    """Raise `Conflict` if the settings differ; fields may differ, because they can be added."""
    if msgspec.structs.replace(found, fields=wanted.fields) != wanted:
        raise Conflict(f"the collection {wanted.name!r} exists as {found}, not {wanted}; use another name")
