"""Memory and processors of processes, from Linux's /proc."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

_KIB = 1024


class Memory(msgspec.Struct, frozen=True):
    """Bytes resident: `own` (heap, shared memory), and `mapped` (pages of files, which the system can drop)."""

    own: int
    mapped: int


def memory(pids: Iterable[int]) -> Memory:
    """Return what these processes hold together; what they share counts once."""
    own = mapped = 0
    for pid in pids:
        with suppress(OSError):
            fields = _fields(Path(f"/proc/{pid}/smaps_rollup"))
            own += fields.get("Pss_Anon", 0) + fields.get("Pss_Shmem", 0)
            mapped += fields.get("Pss_File", 0)
    return Memory(own, mapped)


def _fields(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * _KIB
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has begun, and those that they have begun."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="utf-8").split():
                found += [int(child), *descendants(int(child))]
    return found


def run_on(pids: Iterable[int], cpus: set[int]) -> None:
    """Move all threads of these processes to these processors."""
    for pid in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(task.name), cpus)


def disk_bytes(folder: Path) -> int:
    """Return the bytes that the files of a folder take."""
    total = 0
    for path, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += (Path(path) / name).stat().st_blocks * 512
    return total
