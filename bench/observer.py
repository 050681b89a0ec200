"""A second process that prints when it notices each epoch: `python -m bench.observer FOLDER`, until its input ends."""

import sys
import threading
import time

import kedge


def main(folder: str) -> None:
    """Print `epoch nanoseconds` (CLOCK_MONOTONIC, which all processes share) at each change."""
    lock = threading.Lock()

    def heard(epoch: int) -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        with lock:
            print(epoch, now, flush=True)

    with kedge.open(folder) as k:
        k.on_change(heard)
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
