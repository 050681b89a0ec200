"""Importing Kedge: the processor time that a new process takes, beside that of numpy and msgspec."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import kedge
from bench.harness import Measured, Setting, median, ratio

ROUNDS = 9
_TO_FIRST_LINE = """
import os, sys
from kedge.cli.main import main

class Output(type(sys.stdout)):
    def write(self, text):
        if text.strip():
            os._exit(0)
        return len(text)

sys.stdout = Output(open("/dev/null", "wb"))
main(["plan", "v1", "--db", sys.argv[1]])
"""


def importing(setting: Setting) -> Iterator[Measured]:
    """Import in new processes, in turn: numpy and msgspec, Kedge by itself, all its public names, its command line.

    Compiled modules are used, as after an installation; those of this run are compiled in the first, unmeasured round.
    """
    folder = setting.fresh("planned")
    with kedge.open(folder) as k:
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(setting.fresh("compiled"))
    codes = ("import numpy, msgspec", "import kedge", "from kedge import *", "import kedge.cli.main", _TO_FIRST_LINE)
    taken: list[list[float]] = [[] for _ in codes]
    for number in range(-1, min(ROUNDS, setting.sizes.rounds)):
        for code, seconds in zip(codes, taken, strict=True):
            spent = _processor_seconds(code, str(folder), environment)
            if number >= 0:
                seconds.append(spent)
    base, *ours = taken
    for code, seconds, most in zip(codes[1:-1], ours, (1.3, None, None), strict=False):
        detail = f"{median(seconds) * 1e3:,.0f} ms against {median(base) * 1e3:,.0f} ms"
        yield Measured(f"{code}, against numpy and msgspec", ratio(seconds, base), "×", detail, at_most=most)
    yield Measured("first line of `kedge plan`", median(ours[-1]), "s", f"at least {min(ours[-1]):.2f} s", at_most=0.3)


def _processor_seconds(code: str, argument: str, environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, argument], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
