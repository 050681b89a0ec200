"""Usage errors: one message each, with the problem and what to do, and its exit code."""

import re

import pytest

from kedge import errors
from kedge.cli.app import EXIT_CODES, app
from kedge.cli.commands import name_of, register
from kedge.cli.main import exit_code, main
from tests.acceptance.cli import Run


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("plan", "suport-v2"), 2, "did you mean 'support-v2'"),
        (("rollback", "suport-v2", "--yes"), 2, "did you mean 'support-v2'"),
        (("purge", "suport-v2", "--yes"), 2, "did you mean 'support-v2'"),
        (("reinstate", "nothing-like-it", "--yes"), 2, "nothing-like-it"),
        (("log", "--deployment", "suport-v2"), 2, "did you mean"),
        (("show", "contxt", "case/1"), 2, "did you mean 'context'"),
        (("show", "context", "case/11"), 2, "did you mean 'case/1'"),
        (("show", "context", "a", "b"), 2, "too many arguments for context"),
        (("show", "documents"), 2, "no collection given; collections of documents: kb"),
        (("show", "documents", "kbb", "doc-1"), 2, "did you mean 'kb'"),
        (("show", "documents", "kb", "doc-11"), 2, "did you mean 'doc-1'"),
        (("show", "vectors", "kb", "v11"), 2, "did you mean 'v1'"),
        (("show", "artifacts", "support/promt"), 2, "did you mean 'support/prompt'"),
        (("show", "memory"), 2, "write kedge show memory SESSION"),
        (("show", "memory", "s-11"), 2, "did you mean 's-1'"),
        (("show", "context", "case/1", "--at", "before-fryday"), 2, "did you mean 'before-friday'"),
        (("show", "context", "case/1", "--at", "99999"), 2, "seq 99999"),
        (("show", "context", "--session", "s-1", "--deployment", "support-v2"), 2, "exclude each other"),
        (("diff", "before-fryday"), 2, "did you mean 'before-friday'"),
        (("diff", "session:"), 2, "no session name in"),
        (("diff", "now", "deployment:suport-v2"), 2, "did you mean 'support-v2'"),
        (("sessions", "--limit", "0"), 2, "greater than or equal to 1"),
        (("undo-rewind", "nothing"), 2, "`kedge log --json` lists them, as `operation`"),
        (("canary", "support-v2", "lots"), 2, "write 0.1 or 10%"),
        (("canary", "support-v2", "110%"), 2, "from 0 to 1"),
        (("canary", "support-v2", "nan"), 2, "from 0 to 1"),
        (("promote", "support-v3", "--yes"), 3, "rests on 'support-v2'"),
        (("promote", "base", "--yes"), 3, "it is settled"),
        (("settle", "support-v2", "--yes"), 3, "legal now"),
        (("reinstate", "support-v2", "--yes"), 3, "legal now"),
        (("purge", "support-v2", "--yes"), 3, "legal now"),
        (("snapshot", "before-friday"), 3, "exists already"),
        (("snapshot", "--release", "before-fryday", "--yes"), 2, "did you mean 'before-friday'"),
        (("snapshot", "a", "--release", "b"), 2, "run two commands"),
        (("ladder", "tightn"), 2, "did you mean 'tighten'"),
        (("ladder", "tighten"), 2, "`kedge ladder tighten` needs a LEVEL"),
        (("ladder", "tighten", "off", "suport"), 2, "invalid scope 'suport'"),
        (("ladder", "tighten", "off", "--expires", "soon"), 2, "invalid --expires 'soon'"),
        (("ladder", "loosen", "L999"), 2, "no level entry 'L999'"),
        (("ladder", "approve", "x"), 2, "no request 'x'"),
        (("ladder", "list", "x"), 2, "omit it"),
        (("ladder", "two-persons", "maybe"), 2, "must be on or off"),
        (("ladder", "presets", "missing.toml"), 2, "missing.toml"),
        (("level", "support", "half"), 2, "full, supervised, frozen, cautious, fallback, off"),
        (("retention", "soon"), 2, "forever"),
        (("collection", "faq"), 2, "--dim"),
        (("collection", "kb", "--dim", "5"), 3, "kb"),
        (("collection", "faq", "--dim", "5", "--metric", "cosin"), 2, "cosine"),
        (("collection", "faq", "--dim", "5", "--field", "or"), 2, "'or' cannot be declared as a field"),
        (("refresh", "nobody"), 2, "nobody"),
        (("log", "--limit", "0"), 2, "--limit"),
        (("stauts",), 2, "status"),
        (("status", "--jsn"), 2, "--json"),
        (("status", "surplus"), 2, "surplus"),
        (("canary",), 2, "DEPLOYMENT"),
    ],
)
def test_a_wrong_call(run: Run, argv: tuple[str, ...], code: int, says: str) -> None:
    result = run(*argv)
    assert says in " ".join(result.err.split()), result
    assert result.code == code
    assert result.out == ""
    assert "Traceback" not in result.err


def test_every_error_has_an_exit_code_that_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    groups = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KedgeError)]
    for kind in groups:
        if kind is not errors.KedgeError:
            assert exit_code(kind("x")) in EXIT_CODES
            assert exit_code(kind("x")) not in {0, 1, 70}
    assert main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in said


def test_every_command_takes_db_and_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    register()
    names = [name_of(command) for command in app.registered_commands]
    assert len(names) == len(set(names)) >= 20
    for name in names:
        assert main([name, "--help"]) == 0
        said = capsys.readouterr().out
        # migrate-store names both of its databases; the others read no database.
        assert "--db" in said or name in {"migrate-store", "roles", "scan", "traces", "readiness"}, name
        assert "--json" in said, name
        assert all(len(line) <= 80 for line in said.splitlines()), name


def test_help_fills_its_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["deploy", "--help"]) == 0
    assert "A manifest is a TOML file with name, canary, allow, deny," in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "In an incident: kedge status" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert re.fullmatch(r"kedge \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_defect_says_that_it_is_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("kedge.face.Kedge.status", broken)
    result = run("status")
    assert result.code == 70
    assert "Traceback" in result.err
    assert "this is a bug in Kedge" in result.err
    assert run("status", "--json").document["error"]["kind"] == "Defect"
