"""Fixtures of all tests: Hypothesis profiles, an open database, disarmed failpoints."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import kedge
from kedge.support import failpoints

# A shell that starts the tests in its background leaves Ctrl-C ignored, here and in all children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Temporary files are in memory where there is room and TMPDIR says nothing else: a database of PostgreSQL is 300 files,
# and every test makes one. Processes that the tests start inherit it.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 4 << 30


def _fits(folder: Path) -> bool:
    return (
        folder.is_dir()
        and os.access(folder, os.W_OK)
        and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(folder).free >= _ROOM_BYTES
    )


if "TMPDIR" not in os.environ and _fits(_MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)

# No deadlines: a disk that syncs slowly is no defect. `ci` draws the same examples every time, so that a red run can be
# run again and a green one means the same everywhere; exploring is what `soak` is for.
_SLOW = [HealthCheck.too_slow]
settings.register_profile(
    "default", max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=_SLOW
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile(
    "soak", settings.get_profile("default"), max_examples=2000, stateful_step_count=50, print_blob=True
)
settings.load_profile(os.environ.get("KEDGE_HYPOTHESIS", "ci" if os.environ.get("CI") == "true" else "default"))


pytest_plugins = ["tests.databases"]


@pytest.fixture
def k(tmp_path: Path) -> Iterator[kedge.Kedge]:
    """Open a fresh database, and close it after the test."""
    with kedge.open(f"sqlite:///{tmp_path / 'kedge.db'}") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _nothing_armed() -> Iterator[None]:
    yield
    failpoints.disarm()
