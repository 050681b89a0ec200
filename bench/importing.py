"""Importing Kedge: the time that a new process takes, beside that of numpy and msgspec."""

import subprocess
import sys
from collections.abc import Callable, Iterator

from bench.harness import Measured, Setting, interleave, median, ratio

ROUNDS = 9


def importing(setting: Setting) -> Iterator[Measured]:
    """Import in new processes, in turn: numpy and msgspec, Kedge by itself, all its public names, its command line."""
    codes = ("import numpy, msgspec", "import kedge", "from kedge import *", "import kedge.cli.main")
    base, *ours = interleave(min(ROUNDS, setting.sizes.rounds), *(_process(code) for code in codes))
    for code, seconds, most in zip(codes[1:], ours, (1.3, None, None), strict=True):
        detail = f"{median(seconds) * 1e3:,.0f} ms against {median(base) * 1e3:,.0f} ms"
        yield Measured(f"{code}, against numpy and msgspec", ratio(seconds, base), "×", detail, at_most=most)


def _process(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True)
