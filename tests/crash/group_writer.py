"""Threads that append batches of three at once, until their process dies, and report each acknowledged batch.

`python -m tests.crash.group_writer URL` prints a JSON line [thread, number] a batch, and a line [size] a group in
which they commit.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import kedge
from kedge.backends.sqlite import group_commit

SIZE = 3
THREADS = 6
BATCHES = 200


def say(*line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def main(url: str) -> None:
    """Append in all threads at once."""
    commit = group_commit._Group.commit

    def counted(self: group_commit._Group, error: BaseException | None) -> None:
        say(len(self.members))
        time.sleep(0.002)  # as a disk that syncs: the others queue up, and share the next one
        commit(self, error)

    group_commit._Group.commit = counted  # type: ignore[method-assign]
    with kedge.open(url) as k:

        def append(thread: int) -> None:
            with k.turn(session=f"s-{thread}", agent="clerk") as turn:
                for number in range(BATCHES):
                    turn.memory.extend([("assistant", f"{thread} {number} {n}") for n in range(SIZE)])
                    say(thread, number)

        threads = [threading.Thread(target=append, args=(thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
