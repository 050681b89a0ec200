"""Databases that an earlier release made, restored as they were, and upgraded in each way that users have.

An issue that changes the schema makes such a fixture with the package of the commit before it (see
`tests/fixtures/make_before_ladder.py`), and adds it to `MADE`.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kedge
from kedge.testing import postgres
from tests.databases import create
from tests.fixtures import make_before_children, make_before_ladder, make_before_record
from tests.fixtures import make_before_layout as before
from tests.processes import run

MADE: dict[str, Any] = {
    "layout": before,
    "record": make_before_record,
    "children": make_before_children,
    "ladder": make_before_ladder,
}
"""The modules that made the databases, by what changed since."""
ROOT = Path(__file__).resolve().parents[2]
LATER_IDS = 10**6  # above those that the program counted


def restored_file(folder: Path, packed: Path = before.SQLITE) -> str:
    """Unpack a SQLite database; return its address."""
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed.read_bytes()))) as tar:
        tar.extractall(folder, filter="data")
    return f"sqlite:///{folder / 'kedge.db'}"


def restored_dump(server: postgres.Server, folder: Path, packed: Path = before.POSTGRES) -> str:
    """Restore a dump into a new database; return its address."""
    url = create(server, empty=True)
    dump = folder / "dump.sql"
    dump.write_bytes(lzma.decompress(packed.read_bytes()))
    quiet = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1")
    server.client("psql", *quiet, f"--file={dump}", url.rpartition("/")[2])
    return url


def opened(url: str, **options: Any) -> kedge.Kedge:
    """Open a restored database at the moment at which it answered."""
    clock = before.Clock(first_id=LATER_IDS, time=before.END)
    return kedge.open(url, clock=clock, **options)


def differences(found: Any, then: Any, where: str = "") -> list[str]:
    """Return where answers differ from those of then; records may have new fields, and `pins` are worded anew."""
    if isinstance(found, dict) and isinstance(then, dict):
        gone = [f"{where}/{key} is gone" for key in then if key not in found and key != "pins"]
        new = [] if isinstance(found, before.Fields) else [f"{where}/{key} is new" for key in found if key not in then]
        return (
            gone
            + new
            + [d for key in found.keys() & then for d in differences(found[key], then[key], f"{where}/{key}")]
        )
    if isinstance(found, list) and isinstance(then, list) and len(found) == len(then):
        return [d for n, pair in enumerate(zip(found, then, strict=True)) for d in differences(*pair, f"{where}/{n}")]
    return [] if found == then else [f"{where}: {found!r}, then {then!r}"]


def by_call(url: str) -> None:
    """Upgrade from Python."""
    with kedge.open(url, durability="normal") as k:
        k.upgrade()


def by_command(url: str) -> None:
    """Upgrade by the command line, in a process of its own."""
    command(url, "upgrade")


def command(url: str, *arguments: str, code: int = 0, **environment: str) -> str:
    """Run one command on a database; return what it printed."""
    done = run("-m", "kedge.cli.main", *arguments, "--db", url, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


WAYS: dict[str, Callable[[str], None]] = {"call": by_call, "command": by_command}
