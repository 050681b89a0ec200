"""The command line on PostgreSQL: every kind of command, and both drills."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.drill import rehearse_helpdesk, rehearse_in_place
from kedge.open import server_databases
from kedge.testing import postgres
from kedge.testing.proxy import Proxy
from tests.acceptance.cli import Run, make_world, spawn
from tests.acceptance.test_cli_process import read_until


@pytest.fixture
def on_server(run_nowhere: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command on a world on PostgreSQL."""
    make_world(postgres_url)
    monkeypatch.setenv("KEDGE_DB", postgres_url)
    return run_nowhere


def test_a_launch_goes_wrong_and_is_undone(on_server: Run) -> None:
    def document(*argv: str) -> Any:
        result = on_server(*argv, "--json")
        assert result.code == 0, (argv, result)
        return result.document

    document("status")
    document("deploy", "support-v4", "-a", "support/prompt=Refund never.", "--canary", "0.5")
    document("plan", "support-v2")
    document("rollback", "support-v2", "--yes", "-m", "it refunds")
    assert document("fsck", "--full")["ok"] is True
    document("log")
    document("reinstate", "support-v2", "--yes")
    document("rollback", "support-v2", "--yes")
    document("purge", "support-v2", "--yes")
    assert document("fsck", "--full")["ok"] is True


def test_a_server_that_goes_away_is_told_of_once_and_in_our_words(
    postgres_server: postgres.Server, postgres_url: str, tmp_path: Path
) -> None:
    make_world(postgres_url)
    ours, theirs = pty.openpty()
    with Proxy(postgres_server.port) as proxy:
        argv = ("fleet", "--watch", "--db", proxy.url(postgres_url))
        process = spawn(*argv, cwd=tmp_path, stdout=theirs, env={"COLUMNS": "120"})
        os.close(theirs)
        read_until(ours, "serving at the current epoch")
    assert process.stderr is not None
    select.select([process.stderr], [], [], 30.0)
    time.sleep(1.0)  # in which the pool tries again
    os.killpg(process.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    os.close(ours)
    assert err == "The database does not answer; retrying…\n"


def test_a_database_without_kedge_is_told_and_left_alone(
    run_nowhere: Run, postgres_server: postgres.Server, postgres_url: str
) -> None:
    for argv in (["status"], ["rollback", "v1", "--yes"]):
        result = run_nowhere(*argv, "--db", postgres_server.url())
        assert result.code in {1, 2}
        said = " ".join(result.err.split())
        assert "there is no Kedge database at postgresql://" in said
        assert "check the address, or create one with `kedge deploy`" in said
    assert run_nowhere("deploy", "v1", "-a", "a/prompt=x", "--db", postgres_url).code == 0


def test_a_rehearsal_in_place_leaves_nothing(postgres_url: str) -> None:
    make_world(postgres_url)
    with kedge.open(postgres_url) as k:
        before = k.view().context.items()
    report = rehearse_in_place(kedge.open, postgres_url)
    assert [check.name for check in report.checks if not check.passed] == []
    with kedge.open(postgres_url) as k:
        assert k.view().context.items() == before
        assert k.fsck(full=True).ok


def test_the_drill_passes_in_three_processes_and_drops_its_databases(postgres_server: postgres.Server) -> None:
    with server_databases(postgres_server.url()) as databases:
        report = rehearse_helpdesk(kedge.open, databases=databases, documents=150, sessions=8)
    assert [check.name for check in report.checks if not check.passed] == []
    assert report.processes == 3


def test_the_drill_wants_a_server(run_nowhere: Run, tmp_path: Path) -> None:
    result = run_nowhere("drill", "--server", str(tmp_path))
    assert result.code != 0
    assert "invalid server address" in " ".join(result.err.split())
    result = run_nowhere("drill", "--in-place", "--server", "postgresql://localhost/x")
    assert "exclude each other" in " ".join(result.err.split())
