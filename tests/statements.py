"""Recorder of the SQL statements that this thread sends."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import kedge


@contextmanager
def statements(k: kedge.Kedge, before: Callable[[int], object] = lambda _: None) -> Iterator[list[str]]:
    """Collect the statements that this thread sends; those of other threads are left out.

    `before` is called before each of them with its number, from 1; what it sends itself is left out.
    """
    here, is_aside = threading.get_ident(), False
    sent: list[str] = []
    database: Any = k._kernel.backend.database  # type: ignore[attr-defined]

    def note(sql: object) -> None:
        nonlocal is_aside
        if threading.get_ident() != here or is_aside:
            return
        sent.append(sql.decode() if isinstance(sql, bytes) else str(sql))
        is_aside = True
        try:
            before(len(sent))
        finally:
            is_aside = False

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
