"""A process that opens a collection and prints time and memory: `python -m bench.opened FOLDER DIM [optimize]`."""

import json
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np

import kedge

LOOK_SECONDS = 0.005


def own_bytes() -> int:
    """Return the resident anonymous bytes of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def main(folder: str, dim: int, *, optimize: bool) -> None:
    """Print JSON: seconds until the first search was answered, and own bytes before, after, and at the peak."""
    query = np.random.default_rng(5).standard_normal(dim, np.float32)
    before = most = own_bytes()
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(LOOK_SECONDS):
            most = max(most, own_bytes())

    watcher = threading.Thread(target=watch)
    if optimize:
        watcher.start()
    began = time.perf_counter()
    with kedge.open(folder) as k:
        if optimize:
            k.optimize()
        hits = k.view().vectors("kb").search(query)
        seconds = time.perf_counter() - began
        after = own_bytes()
    over.set()
    if optimize:
        watcher.join()
    most = max(most, after)
    print(json.dumps({"seconds": seconds, "before": before, "after": after, "most": most, "exact": hits.exact}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), optimize="optimize" in sys.argv[3:])
