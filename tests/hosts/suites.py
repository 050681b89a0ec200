"""Suites of hosts that come with their source distributions: run in a process of their own, with an adapter put in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.docs.pages import ROOT

SDISTS = Path(sys.prefix) / "hosts"  # where `make hosts` puts them
_INI = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = -p no:randomly -p no:cacheprovider -p no:benchmark -p no:codspeed -p no:socket -p no:recording
"""


@dataclass(frozen=True)
class Outcome:
    """What a suite came to: how many tests ran and passed, which failed or were skipped, and what it printed."""

    passed: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    output: str


def unpacked(package: str, folder: Path) -> Path:
    """Unpack the source distribution of an installed package, and return its folder."""
    name = f"{package.replace('-', '_')}-{version(package)}"
    archive = SDISTS / f"{name}.tar.gz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not there: `make hosts` downloads it")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder / name


def run(folder: Path, tests: list[str], conftest: str, **environment: str) -> Outcome:
    """Run tests in a folder, with a conftest that puts an adapter in."""
    (folder / "pytest.ini").write_text(_INI, encoding="utf-8")
    (folder / "conftest.py").write_text(conftest, encoding="utf-8")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-q", f"--junitxml={report}", *tests]
    paths = os.pathsep.join([str(folder), str(ROOT / "tests" / "hosts")])
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.exists():
        raise AssertionError(done.stdout[-4_000:] + done.stderr[-4_000:])
    cases = list(ET.parse(report).iter("testcase"))
    report.unlink()
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return Outcome(
        len(cases) - len(failed) - len(skipped),
        tuple(sorted(case.attrib["name"] for case in failed)),
        tuple(sorted(case.attrib["name"] for case in skipped)),
        done.stdout[-8_000:],
    )


def copied(source: Path, folder: Path) -> Path:
    """Copy a suite, so that each run has a folder of its own."""
    return Path(shutil.copytree(source, folder))
