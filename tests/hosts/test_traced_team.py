"""Traces of the real instrumentations: their fold equals the program's journal, and the recording is still true."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from kedge.discovery.traces import TraceReport, Traffic, read_traces
from tests.trace_files import RECORDED, folded, journaled

EVERYDAY = ()

PROGRAM = Path(__file__).with_name("traced_team.py")
DEPLOYMENTS = ("v1", "v2")

pytest.importorskip("opentelemetry.instrumentation.chromadb", reason="make hosts installs it")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the program once for each deployment, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("traced")
    for deployment in DEPLOYMENTS:
        place = folder / deployment
        place.mkdir()
        subprocess.run(
            [sys.executable, "-W", "ignore", PROGRAM, deployment, "spans.jsonl", "journal.json"],
            cwd=place,
            env={**os.environ, "TRACELOOP_TRACE_CONTENT": "false", "ANONYMIZED_TELEMETRY": "false"},
            check=True,
            capture_output=True,
            timeout=100,
        )
    return folder


def test_the_fold_equals_the_journal_of_the_program(run: Path) -> None:
    report = read_traces(*_spans(run))
    assert folded(report) == journaled(run / each / "journal.json" for each in DEPLOYMENTS)
    assert (report.bad_parts, report.duplicates, report.orphans) == (0, 0, 0)


def test_the_recording_is_what_the_program_emits(run: Path) -> None:
    assert _timeless(read_traces(*_spans(run))) == _timeless(read_traces(*RECORDED))


def _spans(run: Path) -> list[Path]:
    return [run / each / "spans.jsonl" for each in DEPLOYMENTS]


def _timeless(report: TraceReport) -> tuple[object, ...]:
    traffic = [_at_no_time(each) for each in report.traffic]
    return (traffic, report.handovers, report.externals, report.blind, report.neither, report.inner, report.scopes)


def _at_no_time(each: Traffic) -> Traffic:
    return msgspec.structs.replace(each, first=0, last=0, per_second=None)
