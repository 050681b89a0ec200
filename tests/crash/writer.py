"""A member that appends batches of three until its stdin ends, and reports the outcome of each.

`python -m tests.crash.writer URL WHO` prints a JSON line for each batch: [number, seqs] once it is acknowledged, or
[number, name of the error] where it was not, in which case it is repeated with the same idempotency key.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

import kedge

SIZE = 3
PAUSE_SECONDS = 0.01  # all that run share a processor or two


def say(*line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def append(k: kedge.Kedge, who: str, number: int) -> list[int]:
    with k.turn(session=f"s-{who}", agent="clerk") as turn:
        messages = [("assistant", f"{who} {number} {n}") for n in range(SIZE)]
        return turn.memory.extend(messages, idempotency=f"{who}/{number}")


def main(url: str, who: str) -> None:
    """Append until stdin ends."""
    with kedge.open(url) as k, k.join(who):
        number = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            try:
                say(number, append(k, who, number))
                number += 1
                time.sleep(PAUSE_SECONDS)
            except (kedge.OutcomeUnknown, kedge.Retryable) as error:
                say(number, type(error).__name__)
                time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
