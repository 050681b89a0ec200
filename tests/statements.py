"""Recorder of the SQL statements that this thread sends."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import kedge


@contextmanager
def statements(k: kedge.Kedge) -> Iterator[list[str]]:
    """Collect the statements that this thread sends; those of other threads are left out."""
    here = threading.get_ident()
    sent: list[str] = []
    database: Any = k._kernel.backend.database  # type: ignore[attr-defined]

    def note(sql: object) -> None:
        if threading.get_ident() == here:
            sent.append(sql.decode() if isinstance(sql, bytes) else str(sql))

    with pytest.MonkeyPatch.context() as patch:
        if k.url.startswith("postgres"):
            from kedge.backends.postgres.link import Link  # noqa: PLC0415 - its driver is an extra

            send = Link.send

            def noted(link: Link, sql: bytes, *parameters: Any) -> Any:
                note(sql)
                return send(link, sql, *parameters)

            patch.setattr(Link, "send", noted)
        else:
            take = database._take

            def traced() -> sqlite3.Connection:
                connection: sqlite3.Connection = take()
                connection.set_trace_callback(note)
                return connection

            patch.setattr(database, "_take", traced)
        yield sent
