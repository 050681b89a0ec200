"""A look at a running PostgreSQL, as readiness takes it."""

from __future__ import annotations

import psycopg
import pytest

from kedge.discovery.readiness.live import look
from kedge.model.readiness import WayBack
from tests.databases import raw_rows


def test_a_look_says_what_the_server_archives(postgres_url: str) -> None:
    (found,) = look({"postgres": postgres_url}, {}, 10.0)
    assert found.way is WayBack.BACKUP, "it archives nothing"
    assert "archive_mode off" in found.said
    ((size,),) = raw_rows(postgres_url, "SELECT pg_database_size(current_database())")
    assert found.facts.bytes == pytest.approx(size, rel=0.5)


def test_a_look_changes_nothing_and_ends_in_time(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = psycopg.connect

    def keeping(*arguments: object, **options: object) -> object:
        opened.append(options)
        return connect(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(psycopg, "connect", keeping)
    look({"postgres": postgres_url}, {}, 2.0)
    (options,) = opened
    with connect(postgres_url, options=str(options["options"])) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE written (id int)")
        connection.rollback()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")


def test_a_server_that_is_not_there() -> None:
    (found,) = look({"postgres": "postgresql://ann:secret@127.0.0.1:1/x"}, {}, 2.0)
    assert found.way is None
    assert found.said.startswith("not looked at: ")
    assert "secret" not in found.said
