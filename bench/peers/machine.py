"""Description of the machine."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

import kedge


class Machine(msgspec.Struct, frozen=True):
    """The machine and what runs on it."""

    cpus: int
    cpu: str
    memory_bytes: int
    python: str
    numpy: str
    kedge: str
    date: str


def this_machine() -> Machine:
    """Return this one."""
    cpus = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    date = datetime.now(UTC).date().isoformat()
    return Machine(cpus, _cpu(), memory, platform.python_version(), np.__version__, kedge.__version__, date)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
