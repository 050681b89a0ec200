"""Read-only commands never create, change or block anything; without a database they report that."""

from pathlib import Path

import pytest

import kedge
from tests.acceptance.cli import Run, content

READ_ONLY = [
    ("status",),
    ("plan", "support-v2"),
    ("log",),
    ("show", "context"),
    ("show", "memory", "s-1"),
    ("diff", "before-friday"),
    ("assignment", "s-1"),
    ("snapshot",),
    ("level",),
    ("retention",),
    ("collection",),
    ("fsck",),
]
WRITING = [
    ("canary", "v1", "0.1"),
    ("promote", "v1", "--yes"),
    ("settle", "v1", "--yes"),
    ("rollback", "v1", "--yes"),
    ("reinstate", "v1", "--yes"),
    ("purge", "v1", "--yes"),
    ("recover",),
    ("snapshot", "x"),
    ("snapshot", "--release", "x", "--yes"),
    ("level", "support", "off"),
    ("retention", "3d", "--yes"),
    ("refresh", "s-1"),
    ("drill", "--in-place"),
]


@pytest.mark.parametrize("argv", READ_ONLY + WRITING, ids=" ".join)
def test_without_a_database(run_nowhere: Run, tmp_path: Path, argv: tuple[str, ...]) -> None:
    result = run_nowhere(*argv)
    assert result.code == 2
    assert result.out == ""
    said = " ".join(result.err.split())
    assert "no database at .kedge/kedge.db" in said
    assert "--db or KEDGE_DB" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [("deploy", "v1", "-a", "a/prompt=x"), ("collection", "kb", "--dim", "4")])
def test_deploy_and_collection_create_a_database(run_nowhere: Run, tmp_path: Path, argv: tuple[str, ...]) -> None:
    assert run_nowhere(*argv).code == 0
    assert (tmp_path / ".kedge" / "kedge.db").is_file()
    assert run_nowhere("status").code == 0


def test_the_database_is_the_one_that_is_named(
    run_nowhere: Run, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "support-v2" in run_nowhere("status", "--db", str(world)).out
    assert "support-v2" in run_nowhere("status", "--db", f"sqlite:///{world / 'kedge.db'}").out
    assert "support-v2" in run_nowhere("status", "--db", "sqlite:///state/kedge.db").out
    assert "support-v2" in run_nowhere("--db", str(world), "status").out
    assert run_nowhere(f"--db={world}", "--json", "status").document["epoch"] == 9
    monkeypatch.setenv("KEDGE_DB", str(world))
    assert "support-v2" in run_nowhere("status").out
    assert run_nowhere("status", "--db", str(tmp_path / "other")).code == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("argv", READ_ONLY, ids=" ".join)
def test_looking_changes_nothing(run: Run, world: Path, argv: tuple[str, ...]) -> None:
    before = content(world)
    assert run(*argv).code == 0
    assert run(*argv, "--json").code == 0
    assert content(world) == before


@pytest.mark.parametrize("argv", READ_ONLY, ids=" ".join)
def test_looking_works_while_others_write(run: Run, world: Path, argv: tuple[str, ...]) -> None:
    with kedge.open(world) as k, k.turn(session="s-1", person="ann") as turn:
        turn.context.put("case/1", {"state": "being written"})
        assert run(*argv).code == 0
        turn.context.put("case/1", {"state": "written"})


def test_looking_works_while_the_write_lock_is_held(run: Run, world: Path) -> None:
    with kedge.open(world) as k:
        database = k._kernel.backend.database  # type: ignore[attr-defined]
        with database.writing("test"):
            for argv in READ_ONLY:
                assert run(*argv).code == 0, argv


def test_a_file_that_is_not_a_database(run_nowhere: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("this is no database at all, it is a text\n" * 50)
    result = run_nowhere("status", "--db", str(tmp_path / "notes.txt"))
    assert result.code == 2
    assert "notes.txt is not a database, but a text file; check the path" in " ".join(result.err.split())
    assert (tmp_path / "notes.txt").read_text().startswith("this is no database")


@pytest.mark.parametrize(("url", "says"), [("", "empty"), ("mysql://host/x", "mysql"), ("sqlite://x", "sqlite:///")])
def test_a_wrong_url(run_nowhere: Run, url: str, says: str) -> None:
    result = run_nowhere("status", "--db", url)
    assert result.code == 2
    assert says in result.err or (url == "" and "no database" in result.err)
