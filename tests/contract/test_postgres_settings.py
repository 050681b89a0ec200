"""Server settings: Kedge sets what it needs, and refuses at once what it cannot work with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import kedge
from kedge.backends.postgres import settings
from kedge.model.secrets import public_address
from kedge.testing import postgres
from tests.databases import create, drop

WORD = "ключ €"
GRANTS = (
    "GRANT USAGE ON SCHEMA kedge TO {0}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA kedge TO {0}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA kedge TO {0}",
)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def empty_url(postgres_server: postgres.Server) -> Iterator[str]:
    url = create(postgres_server, empty=True)
    yield url
    drop(postgres_server, url)


@pytest.fixture
def somebody(postgres_server: postgres.Server, empty_url: str) -> Iterator[str]:
    """A user who is nobody special."""
    run(postgres_server.url(), "CREATE ROLE somebody LOGIN PASSWORD 'secret'")
    yield "somebody"
    run(empty_url, "DROP OWNED BY somebody", "DROP ROLE somebody")


def use(url: str) -> None:
    """Do a little of everything."""
    with kedge.open(url, durability="normal") as k:
        k.collection("kb", dim=3)
        k.deploy("v1", {"support/prompt": "x"}, canary=1.0)
        with k.turn(session="s", agent="support") as turn:
            turn.context.put(WORD, WORD)
            turn.vectors("kb").upsert(["a", "b"], [[1, 0, 0], [0, 1, 0]])
            assert [hit.id for hit in turn.vectors("kb").search([1, 0, 0], k=1)] == ["a"]
            assert turn.context.items() == {WORD: WORD}
        assert k.rollback("v1").ok
        k.purge("v1", confirm="v1")
        assert k.fsck(full=True).findings == ()


@pytest.mark.parametrize(
    "made",
    [
        ("CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions"),
        (
            "CREATE SCHEMA evil",
            "CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT $1[1] LIMIT 0'",
            "ALTER DATABASE {0} SET search_path = evil, pg_catalog, public",
        ),
        (
            "ALTER DATABASE {0} SET default_transaction_isolation = 'serializable'",
            "ALTER DATABASE {0} SET bytea_output = 'escape'",
            "ALTER DATABASE {0} SET datestyle = 'German'",
            "ALTER DATABASE {0} SET extra_float_digits = -5",
        ),
    ],
    ids=["extension elsewhere", "namesakes", "odd settings"],
)
def test_a_database_may_be_set_up_otherwise(empty_url: str, made: tuple[str, ...]) -> None:
    run(empty_url, *(statement.format(empty_url.rpartition("/")[2]) for statement in made))
    use(empty_url)


def test_the_client_s_encoding_does_not_matter(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    use(empty_url)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: postgres.Server, encoding: str) -> None:
    name = f"in_{encoding.lower()}"
    run(postgres_server.url(), f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    with pytest.raises(
        kedge.InvalidValue, match=f"has the encoding {encoding}.*create a database with ENCODING 'UTF8'"
    ):
        kedge.open(postgres_server.url(name))
    drop(postgres_server, postgres_server.url(name))


def test_a_server_that_is_too_old_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_VERSION_MIN", 990_000)
    with pytest.raises(kedge.InvalidValue, match=r"runs PostgreSQL \d+; Kedge needs 99 or newer: upgrade it"):
        kedge.open(postgres_url)


def test_a_user_who_may_make_the_schema_may_do_all(empty_url: str, somebody: str) -> None:
    run(empty_url, f"GRANT CREATE ON DATABASE {empty_url.rpartition('/')[2]} TO {somebody}")
    use(empty_url.replace("postgres@", f"{somebody}@"))


def test_a_user_to_whom_all_was_granted_may_do_all(empty_url: str, somebody: str) -> None:
    kedge.open(empty_url).close()
    run(empty_url, *(grant.format(somebody) for grant in GRANTS))
    use(empty_url.replace("postgres@", f"{somebody}@"))


def test_a_user_who_may_not_is_told_so(empty_url: str, somebody: str) -> None:
    url = empty_url.replace("postgres@", f"{somebody}@")
    with pytest.raises(kedge.ReadOnly, match="permission denied for database.*grant it, or connect as another user"):  # noqa: RUF043
        kedge.open(url)
    kedge.open(empty_url).close()
    run(empty_url, GRANTS[0].format(somebody), f"GRANT SELECT ON ALL TABLES IN SCHEMA kedge TO {somebody}")
    with kedge.open(url, read_only=True) as k:
        assert k.view().context.items() == {}
        with pytest.raises(kedge.ReadOnly, match="permission denied for table lanes"):
            k.seq  # noqa: B018 - it waits on the lanes
    run(empty_url, f"GRANT UPDATE ON kedge.lanes TO {somebody}")
    with kedge.open(url, read_only=True) as k:
        assert k.seq > 0


def test_a_wrong_password_is_told_at_once(
    empty_url: str, somebody: str, postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "wrong")
    kedge.open(empty_url).close()
    run(empty_url, *(grant.format(somebody) for grant in GRANTS))
    with postgres_server.asking_passwords_of(somebody):
        with pytest.raises(kedge.InvalidValue, match="rejected the login.*password authentication failed"):  # noqa: RUF043
            kedge.open(empty_url.replace("postgres@", f"{somebody}@"))
        with kedge.open(empty_url.replace("postgres@", f"{somebody}:secret@")) as k:
            assert "secret" not in k.url


def test_a_database_that_is_dropped_beneath_is_told_soon(
    postgres_server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kedge.backends.postgres.pools._RECONNECT_SECONDS", 0.5)
    url = create(postgres_server)
    with kedge.open(url) as k:
        drop(postgres_server, url)
        with pytest.raises(kedge.UnknownName, match="this database does not exist"):
            k.deploy("v1", {"support/prompt": "x"})


@pytest.mark.parametrize(
    ("level", "durability", "used"),
    [
        ("remote_apply", "full", "remote_apply"),
        ("off", "full", "on"),
        ("local", "full", "on"),
        ("remote_apply", "normal", "off"),
    ],
)
def test_durability_promises_no_less_than_the_server(empty_url: str, level: str, durability: Any, used: str) -> None:
    run(empty_url, f"ALTER DATABASE {empty_url.rpartition('/')[2]} SET synchronous_commit = {level}")
    with kedge.open(empty_url, durability=durability) as k:
        database = k._kernel.backend.database  # type: ignore[attr-defined]
        assert database.ask(b"SHOW synchronous_commit") == [(used,)]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a:b@c:1,d:2/e", "postgresql://a@c:1,d:2/e"),
        ("postgresql://a@c/e?password=b&sslpassword=f&sslmode=require", "postgresql://a@c/e?password=…&sslpassword=…&sslmode=require"),
        ("postgresql://a:b/c@d/e", "postgresql://a@d/e"),
    ],
)  # fmt: skip
def test_a_password_is_left_out(url: str, shown: str) -> None:
    assert public_address(url) == shown


@pytest.mark.parametrize("attributes", ["standby", "read-only", "prefer-standby"])
def test_who_writes_is_led_to_a_server_that_takes_writes(postgres_url: str, attributes: str) -> None:
    url = f"{postgres_url}?target_session_attrs={attributes}"
    with pytest.raises(kedge.InvalidValue, match=f"target_session_attrs={attributes} selects a standby"):
        kedge.open(url)
    with kedge.open(f"{postgres_url}?target_session_attrs=any") as k:
        assert k._kernel.backend.database._arguments["target_session_attrs"] == "read-write"  # type: ignore[attr-defined]
