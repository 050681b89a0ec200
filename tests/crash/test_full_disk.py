"""A disk without a free byte: rollbacks and freezes go through, and a purge does nothing and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import kedge

ROOT = Path(__file__).resolve().parents[2]
DISK_BYTES = 24 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    assert os.statvfs(folder).f_bavail == 0
    return filler


def populate(k: kedge.Kedge) -> None:
    for name in ("v1", "v2"):
        k.deploy(name, {"support/prompt": name}, canary=1.0)
        k.promote(name)
    with k.turn(session="s1", agent="support") as turn:
        for n in range(20):
            turn.context.put(f"case/{n}", "x" * 200_000)


def test_a_rollback_and_a_freeze_go_through(disk: Path) -> None:
    with kedge.open(disk) as k:
        populate(k)
    with kedge.open(disk) as k:  # its WAL is empty: there is no room in the file to write to
        fill(disk)
        with pytest.raises(kedge.StorageFull, match="nothing was written"), k.turn("s1", "support") as turn:
            turn.context.put("large", "x" * 7_000_000)
        k.set_level("support", "frozen", reason="the disk is full")
        assert k.rollback("v2").ok
        k.set_level("support", "full")
        assert k.rollback("v1").ok
        assert k.view().context.items() == {}
        assert k.status().unfinished == ()
        assert k.fsck(full=True).findings == ()


def test_a_rollback_goes_through_from_a_new_process(disk: Path) -> None:
    with kedge.open(disk) as k:
        populate(k)
    filler = fill(disk)
    done = subprocess.run(
        [sys.executable, "-m", "kedge.cli.main", "rollback", "v2", "--yes", "--db", str(disk)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    filler.unlink()
    with kedge.open(disk) as k:
        assert k.deployment("v2").status is kedge.Status.ROLLED_BACK
        assert k.fsck(full=True).findings == ()


def test_a_purge_does_nothing_without_room_and_can_be_repeated(disk: Path) -> None:
    with kedge.open(disk) as k:
        populate(k)
        k.rollback("v2")
        filler = fill(disk)
        with pytest.raises(kedge.StorageFull, match=r"no room for the purge.*nothing was written"):
            k.purge("v2", confirm="v2")
        assert k.deployment("v2").status is kedge.Status.ROLLED_BACK
        filler.unlink()
        assert k.reinstate("v2").status is kedge.Status.LIVE
        k.rollback("v2")
        assert k.purge("v2", confirm="v2").erased_writes == 21


def test_a_purge_that_runs_out_of_room_says_what_it_left(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kedge.open(disk) as k:
        populate(k)
        k.rollback("v2")
        filler = fill(disk)
        monkeypatch.setattr("kedge.backends.sqlite.erasure.check_room", lambda *_: None)  # there was room then
        with pytest.raises(kedge.OutcomeUnknown, match=r"'v2' is purged for good.*not all.*kedge recover") as caught:
            k.purge("v2", confirm="v2")
        assert "nothing was" not in str(caught.value)
        assert k.deployment("v2").status is kedge.Status.PURGED
        filler.unlink()
        assert k.recover() == ["v2: purge finished, 21 writes erased"]
        assert k.fsck(full=True).findings == ()


def kedge_stop(disk: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kedge.cli.main", "stop", *options, "--db", str(disk)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_stop_goes_through_by_file_and_by_record(disk: Path) -> None:
    with kedge.open(disk) as k:
        populate(k)
    with kedge.open(disk) as k, k.turn("s1", "support") as turn:
        fill(disk)
        done = kedge_stop(disk, "--reason", "the disk is full")
        assert "This host: off for everything" in done.stdout, done.stderr
        assert "All hosts: recorded" in done.stdout, done.stderr
        assert "the file is empty, without the reason" in done.stderr
        assert (disk / "STOP").read_bytes() == b""
        k._kernel.stop_files.look()
        assert turn.level is kedge.Level.OFF
        with pytest.raises(kedge.NotPermitted):
            turn.require("act", tool="refund")
        assert kedge_stop(disk, "--release").returncode == 0
        assert not (disk / "STOP").exists()
        k._kernel.stop_files.look()
        assert turn.may("act")


def test_a_narrow_stop_is_recorded_where_its_file_has_no_room(disk: Path) -> None:
    with kedge.open(disk) as k:
        populate(k)
        fill(disk)
        done = kedge_stop(disk, "feature:support")
        assert done.returncode == 0, done.stderr
        assert "no room for the stop file" in done.stderr
        assert not (disk / "STOP").exists()
        assert k.ladder.effective("support") is kedge.Level.OFF
        assert k.ladder.effective("other") is kedge.Level.FULL
