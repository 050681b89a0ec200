"""Mistakes that are easy to make: in manifests, in --db, by repeating a deploy, by a missing confirmation."""

from __future__ import annotations

import os
import pty
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

import kedge
from kedge.bulk.sources import readable
from kedge.reconcilers.config import read_config
from tests.acceptance.cli import Run, content, spawn
from tests.acceptance.test_cli_process import read_until

# ── manifests ──


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (
            'name = "x"\n[artifacts]\n"a/prompt" = {fil = "prompt.txt"}',
            "unknown field 'fil' in artifact 'a/prompt'",
        ),
        ('name = "x"\n[artifacts]\n"a/prompt" = {fil = "prompt.txt"}', "did you mean 'file'"),
        ('name = "x"\n[artifacts]\n"a/prompt" = {digset = "sha256:1"}', "did you mean 'digest'"),
        ('name = "x"\n[artifacts]\na.prompt = "Hi"', 'write "a/prompt" = "…" or "a.prompt" = "…"'),
        ('name = "x"\n[artifacts.a]\nprompt = "Hi"', "a key with a dot must be quoted"),
        ('name = "x"\n[artifacts]\n"a/b" = "1"\n"a/b" = "2"', "a key is given twice; keep one of them"),
        ('nam = "x"\n[artifacts]\n"a/b" = "1"', "did you mean 'name'"),
        ('name = "x"\ncanary = "lots"\n[artifacts]\n"a/b" = "1"', "write 0.1 or 10%"),
        ('name = "x"\ncanary = "110%"\n[artifacts]\n"a/b" = "1"', "from 0 to 1"),
        ('name = "x"\ncanary = true\n[artifacts]\n"a/b" = "1"', "invalid canary True"),
        ('name = "x"\nindependent = 1\n[artifacts]\n"a/b" = "1"', "invalid independent 1 in the manifest"),
        ('note = "x"\n[artifacts]\n"a/b" = "1"', "has no name"),
    ],
)
def test_a_slip_in_a_manifest_is_refused(run_nowhere: Run, tmp_path: Path, manifest: str, says: str) -> None:
    (tmp_path / "slip.toml").write_text(manifest, encoding="utf-8")
    result = run_nowhere("deploy", "slip.toml")
    assert result.code == 2
    assert says in " ".join(result.err.split())
    assert "`" not in result.err.replace("`kedge", "")  # no words of a validation library
    assert not (tmp_path / ".kedge").exists()


@pytest.mark.parametrize("argv", [("-a", "a/b=1", "-a", "a/b=2"), ("-a", 'a/b:={"x": 1, "x": 2}')])
def test_an_artifact_given_twice_is_refused(run_nowhere: Run, argv: tuple[str, ...]) -> None:
    result = run_nowhere("deploy", "x", *argv)
    assert result.code == 2
    assert "is given twice" in " ".join(result.err.split())


def test_a_canary_in_percent(run_nowhere: Run, tmp_path: Path) -> None:
    (tmp_path / "v1.toml").write_text('name = "v1"\ncanary = "10%"\n[artifacts]\n"a/b" = "1"', encoding="utf-8")
    assert "10% of new sessions" in run_nowhere("deploy", "v1.toml").out
    assert "25% of new sessions" in run_nowhere("deploy", "v2", "-a", "a/b=2", "--canary", "25%").out


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("artifacts = 3\nobserve = 'x'\nconverge = 'y'", "artifacts must be text, not a whole number"),
        ("artifacts = '*'\nobserv = 'x'\nobserve = 'x'\nconverge = 'y'", "did you mean 'observe'?"),
        ("artifacts = '*'\nobserve = 'x'", "converge is missing"),
    ],
)  # fmt: skip
def test_a_wrong_reconciler_is_told_in_plain_words(tmp_path: Path, table: str, says: str) -> None:
    (tmp_path / "kedge.toml").write_text(f"[reconcilers.x]\n{table}\n")
    with pytest.raises(kedge.InvalidValue) as caught:
        read_config(tmp_path / "kedge.toml")
    assert says in str(caught.value)


def test_words_of_other_libraries_stay_out_of_errors() -> None:
    class ValidationError(ValueError):
        def errors(self) -> list[dict[str, object]]:
            return [{"loc": ("chroma_x",), "msg": "Extra inputs are not permitted", "input": "S3cr3t"}]

    with pytest.raises(kedge.InvalidValue) as caught, readable("the environment", "unset these"):
        raise ValidationError("1 validation error for Settings\nchroma_x\n  Extra inputs … input_value='S3cr3t'")
    assert str(caught.value) == "the environment cannot be read (invalid settings: chroma_x); unset these"


def test_import_names_its_kinds_on_one_line(run_nowhere: Run) -> None:
    for argv in (("import",), ("import", "pinecone", "x")):
        result = run_nowhere(*argv)
        assert result.code == 2
        assert "\\t" not in result.err
        assert "chroma, lancedb, qdrant" in " ".join(result.err.split()).replace("'", "")


# ── a wrong --db ──


def _other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for table in ("orders", "users"):
            connection.execute(f"CREATE TABLE {table} (id INTEGER)")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("notes\n" * 2000), "is not a database, but a text file"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff\xe0" + os.urandom(5000)), "is not a database, but a JPEG image"),
        (lambda path: path.write_bytes(b"\x00\xfe" * 5000), "but a file of an unknown format"),
        (_other_database, "a SQLite database of another program (tables: orders, users)"),
    ],
    ids=["text", "JPEG", "bytes", "another database"],
)
def test_a_file_of_another_kind_is_no_corruption(run_nowhere: Run, tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "file"
    make(path)  # type: ignore[operator]
    before = path.read_bytes()
    for argv in (("status",), ("fsck",), ("rollback", "x", "--yes"), ("deploy", "x", "-a", "a/b=1")):
        result = run_nowhere(*argv, "--db", str(path))
        assert result.code == 2, result
        assert says in " ".join(result.err.split())
    assert run_nowhere("status", "--db", str(path), "--json").document["error"]["kind"] == "NotAKedgeDatabase"
    assert path.read_bytes() == before


def test_a_damaged_header_of_a_kedge_database_is_corruption(run: Run, world: Path) -> None:
    with (world / "kedge.db").open("r+b") as file:
        file.write(b"\0" * 16)
    result = run("status")
    assert result.code == 5
    assert "the header of" in result.err


# ── repeating a deploy ──


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_same_deploy_again_changes_nothing(run: Run, world: Path, tmp_path: Path) -> None:
    (tmp_path / "v9.toml").write_text('name = "v9"\ncanary = 0.1\n[artifacts]\n"a/b" = "1"\n', encoding="utf-8")
    argv = ("deploy", str(tmp_path / "v9.toml"))
    assert run(*argv, "--json").document["repeated"] is False
    before = content(world)
    again = run(*argv)
    assert again.code == 0
    assert "v9 exists already with the same manifest; nothing was changed" in again.out
    assert "v9 is canary: 10% of new sessions see it" in again.out
    assert run(*argv, "--json").document["repeated"] is True
    other = run(*argv, "-a", "a/b=2", "-a", "a/c=3")
    assert other.code == 3
    assert "another manifest (different: a/b, a/c); names are never used twice" in " ".join(other.err.split())
    assert content(world) == before
    assert run("rollback", "v9", "--yes").code == 0
    gone = run(*argv)
    assert gone.code == 3
    assert "exists already and is rolled back; run `kedge reinstate v9`" in " ".join(gone.err.split())


@pytest.mark.usefixtures("world")
def test_the_same_deploy_after_the_rollback_of_its_base_names_what_can_be_reinstated(run: Run) -> None:
    for name in ("b-one", "a-two", "c-three"):
        assert run("deploy", name, "-a", "a/b=1", "--canary", "100%").code == 0
        assert run("promote", name, "--yes").code == 0
    assert run("rollback", "b-one", "--yes").code == 0
    gone = run("deploy", "c-three", "-a", "a/b=1", "--canary", "100%")
    assert gone.code == 3
    assert "is rolled back; run `kedge reinstate b-one`" in " ".join(gone.err.split())
    assert run("reinstate", "b-one", "--yes").code == 0
    assert run("deploy", "c-three", "-a", "a/b=1", "--canary", "100%").code == 0


@pytest.mark.parametrize(
    ("first", "again", "says"),
    [
        (("--base", "support-v1"), ("--base", "support-v2"), "(different: base (support-v1 is recorded))"),
        (("--base", "support-v1"), (), "(different: base (support-v1 is recorded))"),
        ((), ("--base", "support-v1"), "(different: base (none is recorded))"),
        (("--independent",), (), "(different: independent (true is recorded))"),
        ((), ("--independent",), "(different: independent (false is recorded))"),
        (("--attribution", "view"), (), "(different: attribution (view is recorded))"),
        (("--note", "one"), ("--note", "two"), "(different: note (one is recorded))"),
        (("--settle-after", "30d"), (), "(different: settle_after (2592000.0 is recorded))"),
        (("--canary", "10%"), ("--canary", "20%"), "is a canary of 10%, not of 20%; nothing was changed; run"),
    ],
    ids=str,
)
def test_another_option_is_another_manifest(
    run: Run, world: Path, first: tuple[str, ...], again: tuple[str, ...], says: str
) -> None:
    argv = ("deploy", "v9", "-a", "support/code=9")
    assert run(*argv, *first).code == 0
    before = content(world)
    assert "nothing was changed" in run(*argv, *first).out
    other = run(*argv, *again)
    assert (other.code, other.out) == (3, "")
    assert says in " ".join(other.err.split())
    assert content(world) == before


LIVE = "The weight {} was not set, because it is live already; legal now: settle, rollback."


@pytest.mark.parametrize("first", [("--canary", "10%"), ()], ids=str)
def test_the_same_deploy_after_a_ramp_changes_nothing_and_says_what_is_legal(
    run: Run, world: Path, first: tuple[str, ...]
) -> None:
    argv = ("deploy", "v9", "-a", "support/code=9")
    assert run(*argv, *first).code == 0
    steps = [
        ((*argv, "--canary", "10%"), "v9 is canary: 10% of new sessions see it 1 artifact"),
        (("canary", "v9", "30%"), "to set 10% again, run `kedge canary v9 10%`." if first else ""),
        (("promote", "v9", "--yes"), LIVE.format("10%")),
        (("settle", "v9", "--yes"), "it is settled already; legal now: nothing, it is irrevocable."),
    ]
    for change, says in steps:
        assert run(*change).code == 0
        before = content(world)
        again = run(*argv, "--canary", "10%")
        if says:
            assert (again.code, again.err) == (0, "")
            assert "v9 exists already with the same manifest; nothing was changed" in again.out
            assert says in flat(again.out)
        else:
            assert "is a canary of 30%, not of 10%" in flat(again.err)
        assert content(world) == before
    assert run(*argv, "--canary", "20%", "--json").document["repeated"] is True


def test_a_deploy_that_ended_before_its_canary_is_finished(run: Run) -> None:
    run("deploy", "v9", "-a", "a/b=1")
    done = run("deploy", "v9", "-a", "a/b=1", "--canary", "10%")
    assert done.code == 0
    assert "v9 is canary: 10%" in done.out
    assert "nothing was changed" not in done.out


# ── confirmation ──

ASKING = [
    ("promote", "support-v2"), ("settle", "support-v1"), ("retention", "1d"), ("rollback", "support-v2"),
]  # fmt: skip


@pytest.mark.parametrize("argv", ASKING, ids=" ".join)
def test_without_a_terminal_a_change_needs_yes(run: Run, world: Path, argv: tuple[str, ...]) -> None:
    before = content(world)
    for given in (argv, (*argv, "--json")):
        result = run(*given)
        assert result.code == 2
        assert "refusing without confirmation; add --yes" in " ".join((result.err + result.out).split())
    assert content(world) == before
    assert run(*argv, "--yes").code == 0


@pytest.fixture
def terminal() -> Iterator[SimpleNamespace]:
    ours, theirs = pty.openpty()
    yield SimpleNamespace(ours=ours, theirs=theirs)
    os.close(ours)


@pytest.mark.parametrize(
    ("argv", "asks"),
    [
        (ASKING[0], "Promote support-v2?"),
        (ASKING[1], "Settle support-v1?"),
        (ASKING[2], "Change the retention?"),
    ],
)
def test_no_is_an_answer(
    world: Path, tmp_path: Path, terminal: SimpleNamespace, argv: tuple[str, ...], asks: str
) -> None:
    before = content(world)
    process = spawn(*argv, "--db", str(world), cwd=tmp_path, stdin=terminal.theirs, stderr=terminal.theirs)
    os.close(terminal.theirs)
    read_until(terminal.ours, asks)
    os.write(terminal.ours, b"n\n")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Nothing was changed." in out
    assert content(world) == before
