"""Full disks, read-only files, damaged segments, invalid values and names: a clear error, nothing half-done."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.backends.sqlite import segment_writer
from kedge.backends.sqlite.database import Database
from kedge.support import failpoints
from tests.populated import DIM, populate

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_ROOT = os.geteuid() == 0
BIG = "x" * 200_000
Work = Callable[[kedge.Kedge], object]


def in_turn(work: Callable[[kedge.Turn], object]) -> Work:
    def run(k: kedge.Kedge) -> None:
        with k.turn(session="s1", agent="support") as turn:
            work(turn)

    return run


def many(count: int) -> tuple[list[str], Any]:
    return [f"many {n}" for n in range(count)], np.ones((count, DIM), np.float32)


GROWING: dict[str, Work] = {
    "context": in_turn(lambda turn: turn.context.put("big", BIG)),
    "memory": in_turn(lambda turn: turn.memory.extend([("user", BIG), ("assistant", BIG)])),
    "documents": in_turn(lambda turn: turn.documents("kb").put("big", BIG)),
    "vectors": in_turn(lambda turn: turn.vectors("kb").upsert(*many(2000))),
    "deploy": lambda k: k.deploy("big", {"support/prompt": BIG}),
}


@contextmanager
def nothing_changes(k: kedge.Kedge) -> Iterator[None]:
    """Check that neither the journal nor the record moves, and that all on disk is well afterwards."""
    before = (k.seq, k.epoch, k.view(session="s1").context.items(), k.view().vectors("kb").count())
    yield
    assert (k.seq, k.epoch, k.view(session="s1").context.items(), k.view().vectors("kb").count()) == before
    assert k.fsck(full=True).findings == ()


# ── full ──


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a database full: no connection may add more than a few pages to it."""

    def fill(path: Path) -> None:
        connect = Database._connect

        def limited(database: Database) -> sqlite3.Connection:
            connection = connect(database)
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages + 4}")
            return connection

        assert path.is_file()
        monkeypatch.setattr(Database, "_connect", limited)

    return fill


@pytest.mark.parametrize("what", GROWING)
def test_a_full_database(what: str, full: Callable[[Path], None], tmp_path: Path) -> None:
    path = populate(tmp_path)
    full(path)
    with kedge.open(tmp_path, durability="normal") as k, nothing_changes(k):
        with pytest.raises(kedge.StorageFull, match="nothing was written"):
            GROWING[what](k)
        in_turn(lambda turn: turn.context.get("case/1"))(k)


LIMITED = """
import resource, sys
import kedge
from tests.contract.test_faults import GROWING, nothing_changes
with kedge.open(sys.argv[1], durability="normal") as k:
    k.assignment("s1")
    with nothing_changes(k):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
        try:
            GROWING[sys.argv[2]](k)
        except (kedge.StorageFull, kedge.OutcomeUnknown) as error:
            print(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    GROWING[sys.argv[2]](k)
    assert k.fsck(full=True).findings == ()
"""


def run(code: str, *arguments: object) -> str:
    """Run Python in a process of its own, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("what", ["memory", "vectors"])
def test_files_that_may_not_grow(what: str, tmp_path: Path) -> None:
    populate(tmp_path)
    limit = 16_000 if what == "vectors" else 120_000
    said = run(LIMITED, tmp_path, what, limit)
    assert said == "StorageFull" or (said == "OutcomeUnknown" and what == "memory")  # SQLite calls it an I/O error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = shutil.which("mount")
    if not AS_ROOT or mount is None:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", mounted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this root may not mount: {done.stderr.strip()}")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)


def fill(path: Path) -> None:
    """Write zeros to a file until that fails."""
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk(small_disk: Path) -> None:
    populate(small_disk)
    ballast = small_disk / "ballast"
    with kedge.open(small_disk, durability="normal") as k:
        k.assignment("s1")
        k.deploy("before", {"support/prompt": "x"})
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            fill(ballast)
        with nothing_changes(k):
            for work in GROWING.values():
                with pytest.raises(kedge.StorageFull, match="free some space"):
                    work(k)
            assert k.view(session="s1").memory.history()
        ballast.unlink()
        GROWING["memory"](k)
        GROWING["vectors"](k)
        assert k.rollback("before").ok
        assert k.fsck(full=True).findings == ()


# ── read-only ──

UNPRIVILEGED = """
import os, sys
import kedge, numpy, numpy.core, encodings.idna
from tests.contract.test_faults import GROWING
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
read_only = sys.argv[3] == "read_only"
try:
    with kedge.open(sys.argv[1], durability="normal", read_only=read_only) as k:
        print("opened", k.view().documents("kb").get("doc"), k.fsck().ok, flush=True)
        GROWING[sys.argv[2]](k)
except kedge.KedgeError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A database in a folder that an unprivileged user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="kedge-"))
    try:
        folder.chmod(0o755)
        populate(folder)
        yield folder
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(folder)


def protect(folder: Path, mode: int, *, but: str = "") -> None:
    """Take the right to write from all files (and, by mode, give or take that to make files)."""
    for path in folder.rglob("*"):
        if not (but and path.name.startswith(but)):
            path.chmod(mode if path.is_dir() else 0o444)
    folder.chmod(mode)


def test_a_read_only_file(open_to_all: Path) -> None:
    protect(open_to_all, 0o777)
    said = run(UNPRIVILEGED, open_to_all, "context", "").splitlines()
    assert said[0] == "opened another text of it True"
    assert said[1].startswith("ReadOnly ")
    assert "cannot be written" in said[1]


def test_a_read_only_folder(open_to_all: Path) -> None:
    protect(open_to_all, 0o555)
    for how in ("", "read_only"):
        said = run(UNPRIVILEGED, open_to_all, "context", how)
        assert said.startswith("ReadOnly "), said
        assert str(open_to_all) in said


def test_read_only_segments(open_to_all: Path) -> None:
    for path in open_to_all.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o666)
    open_to_all.chmod(0o777)
    for segment in open_to_all.glob("*-vectors/*"):
        segment.chmod(0o444)
    said = run(UNPRIVILEGED, open_to_all, "vectors", "").splitlines()
    assert said[0] == "opened another text of it True"
    assert said[1].startswith("ReadOnly ")
    assert ".f32" in said[1]
    with kedge.open(open_to_all) as k:
        assert k.fsck(full=True).findings == ()


def test_opened_read_only(tmp_path: Path) -> None:
    populate(tmp_path)
    with kedge.open(tmp_path, read_only=True) as k, nothing_changes(k):
        changes: list[Work] = [lambda k: k.rollback("x"), lambda k: k.snapshot("s"), lambda k: k.refresh("s1")]
        for work in (*GROWING.values(), *changes):
            with pytest.raises(kedge.ReadOnly):
                work(k)


# ── segments ──


@pytest.fixture(params=[False, True], ids=["small", "large"])
def of_a_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take batches for small ones, or for large ones, whose file a thread writes."""
    if request.param:
        monkeypatch.setattr(segment_writer, "BACKGROUND_BYTES", 0)


@pytest.mark.parametrize("damage", ["truncated", "missing"])
@pytest.mark.usefixtures("of_a_size")
def test_a_damaged_segment(damage: str, tmp_path: Path) -> None:
    populate(tmp_path)
    segment = tmp_path / "kedge.db-vectors" / "1.f32"
    if damage == "missing":
        segment.unlink()
    else:
        os.truncate(segment, 40)
    with kedge.open(tmp_path, durability="normal") as k:
        k.assignment("s1")
        before = k.seq
        for work in (
            in_turn(lambda turn: turn.vectors("kb").search([1.0] * DIM)),
            in_turn(lambda turn: turn.vectors("kb").get(["f"])),
            in_turn(lambda turn: turn.vectors("kb").upsert(["new"], [[1.0] * DIM])),
        ):
            with pytest.raises(kedge.DamagedSegment, match=r"1\.f32 .*restore it"):
                work(k)
        assert k.seq == before
        assert segment.exists() == (damage == "truncated")
        assert {f.kind for f in k.fsck(full=True).findings} == {"segment"}
        in_turn(lambda turn: turn.context.put("still", "works"))(k)


@pytest.mark.parametrize("reached", ["append:before-rows", "append:rows", "segment:rows"])
@pytest.mark.usefixtures("of_a_size")
def test_who_is_interrupted_leaves_nobody_behind_that_writes(reached: str, tmp_path: Path) -> None:
    populate(tmp_path)
    path = tmp_path / "kedge.db-vectors" / "1.f32"
    upsert = in_turn(lambda turn: turn.vectors("kb").upsert([f"new{n}" for n in range(50)], [[1.0] * DIM] * 50))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with kedge.open(tmp_path, durability="normal") as k, nothing_changes(k):
        k.assignment("s1")
        failpoints.arm("segment:synced", lambda: time.sleep(0.2))
        failpoints.arm(reached, interrupt)
        with pytest.raises(KeyboardInterrupt):
            upsert(k)
        failpoints.disarm()
        assert not [thread for thread in threading.enumerate() if thread.name == "kedge-segment"]
    assert path.stat().st_size > 0
    with kedge.open(tmp_path, durability="normal") as k:
        upsert(k)
        assert k.fsck(full=True).findings == ()


def test_a_signal_while_the_file_is_waited_for_does_not_end_the_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(tmp_path)
    monkeypatch.setattr(segment_writer, "BACKGROUND_BYTES", 0)
    finished = threading.Event()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def write_slowly() -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        time.sleep(0.6)
        finished.set()

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with kedge.open(tmp_path, durability="normal") as k:
            in_turn(lambda turn: turn.context.get("case/1"))(k)
            with nothing_changes(k):
                failpoints.arm("segment:synced", write_slowly)
                with pytest.raises(KeyboardInterrupt):
                    in_turn(lambda turn: turn.vectors("kb").upsert(["given-up"], [[1.0] * DIM]))(k)
                assert finished.is_set()
                failpoints.disarm()
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("damage", ["truncated", "missing", "none"])
def test_a_purge_stops_at_a_damaged_segment_and_goes_on_when_it_is_back(damage: str, tmp_path: Path) -> None:
    populate(tmp_path)
    segment = tmp_path / "kedge.db-vectors" / "2-1.f32"  # packed by the purge that is in its past
    content = segment.read_bytes()
    with kedge.open(tmp_path, durability="normal") as k:
        k.release_snapshot("now")
        if damage == "missing":
            segment.unlink()
        elif damage == "truncated":
            os.truncate(segment, 1 * 16 + 8)
        if damage != "none":
            with pytest.raises(kedge.DamagedSegment, match=r"2-1\.f32"):
                k.purge("v2", confirm="v2")
            assert not segment.exists() or segment.stat().st_size == 1 * 16 + 8
            with pytest.raises(kedge.DamagedSegment, match=r"2-1\.f32"):
                k.recover()
            segment.write_bytes(content)
            assert len(k.recover()) == 1
        else:
            k.purge("v2", confirm="v2")
        assert k.deployment("v2").status == "purged"
        assert k.status().unfinished == ()
        assert k.fsck(full=True).findings == ()


# ── names and values ──

BAD_NAMES = ["a\x00b", "a\nb", "a\x7f", "a\ud800", "x" * 2_100, "", 5, None]
BAD_VALUES: list[Any] = [float("nan"), [1.0, float("inf")], {1, 2}, {1: "a"}, {"a": {2.5: 1}}, object(), "a\ud800"]
NAMED: dict[str, Callable[[kedge.Kedge, Any], object]] = {
    "context": lambda k, name: in_turn(lambda turn: turn.context.put(name, 1))(k),
    "context read": lambda k, name: in_turn(lambda turn: turn.context.get(name))(k),
    "documents": lambda k, name: in_turn(lambda turn: turn.documents("kb").put(name, 1))(k),
    "documents of": lambda k, name: in_turn(lambda turn: turn.documents(name).put("a", 1))(k),
    "vectors": lambda k, name: in_turn(lambda turn: turn.vectors("kb").upsert([name], [[1.0] * DIM]))(k),
    "vectors delete": lambda k, name: in_turn(lambda turn: turn.vectors("kb").delete([name]))(k),
    "vectors of": lambda k, name: in_turn(lambda turn: turn.vectors(name).count())(k),
    "role": lambda k, name: in_turn(lambda turn: turn.memory.append(name, "x"))(k),
    "metric": lambda k, name: in_turn(lambda turn: turn.observe(name, 1))(k),
    "cache": lambda k, name: in_turn(lambda turn: turn.cache.get_or_compute(name, lambda: 1))(k),
    "deployment": lambda k, name: k.deploy(name, {"support/prompt": "x"}),
    "artifact": lambda k, name: k.deploy("new", {name: 1}),
    "snapshot": lambda k, name: k.snapshot(name),
    "collection": lambda k, name: k.collection(name, dim=2),
    "embedder": lambda k, name: k.collection("new", dim=2, embedder=name),
    "feature": lambda k, name: k.set_level(name, "frozen"),
    "assignment": lambda k, name: k.assignment(name),
}
OPTIONAL: dict[str, Callable[[kedge.Kedge, Any], object]] = {
    "session": lambda k, name: k.turn(session=name, agent="clerk"),
    "agent": lambda k, name: k.turn(agent=name),
    "person": lambda k, name: k.turn(person=name),
    "peer": lambda k, name: k.turn(parent={}, peer=name, agent="clerk"),
    "deployment": lambda k, name: k.turn(deployment=name, agent="clerk"),
    "by": lambda k, name: k.snapshot("new", by=name),
    "idempotency": lambda k, name: in_turn(lambda turn: turn.context.put("a", 1, idempotency=name))(k),
}
VALUED: dict[str, Callable[[kedge.Kedge, Any], object]] = {
    "context": lambda k, value: in_turn(lambda turn: turn.context.put("a", value))(k),
    "documents": lambda k, value: in_turn(lambda turn: turn.documents("kb").put("a", value))(k),
    "memory": lambda k, value: in_turn(lambda turn: turn.memory.extend([("user", "ok"), ("user", value)]))(k),
    "vectors": lambda k, value: in_turn(
        lambda turn: turn.vectors("kb").upsert(["a", "b"], [[1.0] * DIM] * 2, [None, value])
    )(k),
    "cache": lambda k, value: in_turn(lambda turn: turn.cache.get_or_compute("a", lambda: value))(k),
    "artifact": lambda k, value: k.deploy("new", {"ok/prompt": "x", "support/prompt": value}),
}  # fmt: skip


@pytest.fixture
def populated(tmp_path: Path) -> Iterator[kedge.Kedge]:
    populate(tmp_path)
    with kedge.open(tmp_path, durability="normal") as k:
        k.assignment("s1")
        yield k


@pytest.mark.parametrize("where", NAMED)
def test_a_name_that_is_none(where: str, populated: kedge.Kedge) -> None:
    with nothing_changes(populated):
        for name in BAD_NAMES:
            with pytest.raises(kedge.InvalidValue):
                NAMED[where](populated, name)


@pytest.mark.parametrize("where", OPTIONAL)
def test_an_optional_name_that_is_none(where: str, populated: kedge.Kedge) -> None:
    with nothing_changes(populated):
        for name in BAD_NAMES[:-1]:
            with pytest.raises(kedge.Misuse):
                OPTIONAL[where](populated, name)


@pytest.mark.parametrize("where", VALUED)
def test_a_value_that_is_none(where: str, populated: kedge.Kedge) -> None:
    with nothing_changes(populated):
        for value in BAD_VALUES:
            with pytest.raises(kedge.InvalidValue):
                VALUED[where](populated, value)


@pytest.mark.parametrize("where", ["memory", "vectors", "artifact"])
def test_ten_megabytes(where: str, populated: kedge.Kedge) -> None:
    with nothing_changes(populated), pytest.raises(kedge.InvalidValue, match="object store"):
        VALUED[where](populated, "x" * 10_000_000)
    VALUED[where](populated, "x" * 5_000_000)
    assert populated.fsck(full=True).findings == ()


def test_reasons_are_text(populated: kedge.Kedge) -> None:
    calls: list[Callable[[Any], object]] = [
        lambda text: populated.rollback("x", reason=text),
        lambda text: populated.deploy("new", {"support/prompt": "x"}, note=text),
        lambda text: populated.set_level("support", "off", reason=text),
    ]
    with nothing_changes(populated):
        for call in calls:
            for text in ("a\ud800", 5):
                with pytest.raises(kedge.InvalidValue):
                    call(text)
