"""Temporary databases on a server: created by name, copied, and dropped at the end."""

import os
from types import TracebackType
from typing import Self

import psycopg

from kedge.backends.postgres.address import read_address
from kedge.backends.postgres.faults import translate
from kedge.model.secrets import public_address


class ServerDatabases:
    """Temporary databases on the server of an address; its user needs the right to create them."""

    def __init__(self, url: str) -> None:
        read_address(url)  # raises at once if it is malformed
        self._url = url
        self._prefix = f"kedge_{os.urandom(4).hex()}_"
        self._made: set[str] = set()

    def address(self, name: str) -> str:
        """Return the address of a database, created on first use."""
        if name not in self._made:
            self._create(name, "template1")
        place, mark, options = self._url.partition("?")
        server = place.rpartition("/")[0] if place.count("/") > 2 else place  # noqa: PLR2004 - two are the scheme's
        return f"{server}/{self._prefix}{name}{mark}{options}"

    def copy(self, source: str, target: str) -> None:
        """Copy a database that has no open connections to a new name."""
        self._create(target, self._prefix + source)

    def _create(self, name: str, template: str) -> None:
        self._run(f"CREATE DATABASE {self._prefix}{name} TEMPLATE {template}")
        self._made.add(name)

    def _run(self, statement: str) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as connection:
                connection.execute(statement.encode())
        except psycopg.Error as error:
            raise translate(error, public_address(self._url)) from error

    def __enter__(self) -> Self:
        """Return the databases."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop them all, closing open connections."""
        for name in sorted(self._made):
            self._run(f"DROP DATABASE IF EXISTS {self._prefix}{name} WITH (FORCE)")
