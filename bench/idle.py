"""A process that opens a database, reads a little, and prints its memory: `python -m bench.idle FOLDER`."""

import json
import sys
from pathlib import Path

import numpy as np

import kedge
from bench.big import DIM


def resident_bytes() -> tuple[int, int]:
    """Return the resident bytes of this process, mapped segment files left out, and those of the segment files."""
    kept = mapped = 0
    is_segment = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if "-" in fields[0] and not fields[0].endswith(":"):
            is_segment = fields[-1].endswith(".f32")
        elif fields[0] == "Rss:":
            if is_segment:
                mapped += int(fields[1]) * 1024
            else:
                kept += int(fields[1]) * 1024
    return kept, mapped


def main(folder: str) -> None:
    """Print JSON: resident bytes before opening, after, and after a turn has read from every store."""
    before, _ = resident_bytes()
    with kedge.open(folder) as k:
        opened, _ = resident_bytes()
        with k.turn(session="session-1", agent="support") as turn:
            turn.memory.history(limit=20)
            turn.context.items()
            turn.vectors("kb").search(np.ones(DIM, np.float32))
            used, mapped = resident_bytes()
    print(json.dumps({"before": before, "opened": opened, "used": used, "mapped": mapped}))


if __name__ == "__main__":
    main(sys.argv[1])
