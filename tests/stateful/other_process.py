"""A second process on the same database, for as long as the tests run: one JSON command a line, one JSON answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kedge

ROOT = Path(__file__).parents[2]


class OtherProcess:
    """The near end: starts the process, asks it, ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stateful.other_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **command: Any) -> Any:
        """Have a command done over there; return what came of it, or the name of the error under `error`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the other process ended"
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def control(k: kedge.Kedge, verb: str, name: str) -> dict[str, Any]:
    """One control change."""
    if verb == "purge":
        k.purge(name, confirm=name)
    elif verb == "rollback":
        k.rollback(name, verify=False)
    else:
        getattr(k, verb)(name)
    return {}


def turn(k: kedge.Kedge, session: str, agent: str, key: str, value: Any) -> dict[str, Any]:
    """A turn that reads a key, writes it, and tells its session so."""
    with k.turn(session=session, agent=agent) as t:
        read = t.context.get(key)
        seqs = [t.context.put(key, value), t.memory.append("assistant", value)]
        return {"read": read, "seqs": seqs, "lineage": sorted(t.lineage), "seen": k.assignment(session)}


ACTS: dict[str, Callable[..., dict[str, Any]]] = {"control": control, "turn": turn}


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        command = json.loads(line)
        act = ACTS[command.pop("do")]
        try:
            with kedge.open(command.pop("url"), durability="normal") as k:
                answer = act(k, **command)
        except kedge.KedgeError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
