"""A second process on the same database: one JSON command a line, one JSON answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kedge
from tests.stateful.ops import Op, on_real
from tests.thresholds import lowered

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


def vectors(k: kedge.Kedge, agent: str, ops: list[dict[str, Any]]) -> dict[str, Any]:
    """A turn without a session that does these operations on vectors."""
    with k.turn(agent=agent) as t:
        done = [on_real(t, _op(op)) for op in ops]
        return {"answers": [[_plain(answer.value), answer.error] for answer in done], "lineage": sorted(t.lineage)}


def _op(fields: dict[str, Any]) -> Op:
    rows = tuple((name, tuple(vector), payload) for name, vector, payload in fields.pop("rows"))
    return Op(**fields, rows=rows)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list | frozenset) else value


def seal(k: kedge.Kedge) -> dict[str, Any]:
    """Have the vectors indexed over there."""
    return {"indexed": {name: found.indexed for name, found in k.optimize().items()}}


def leave(_: kedge.Kedge) -> dict[str, Any]:
    """Do nothing; the database is closed."""
    return {}


ACTS: dict[str, Callable[..., dict[str, Any]]] = {
    "control": control,
    "turn": turn,
    "vectors": vectors,
    "seal": seal,
    "leave": leave,
}


def main() -> None:
    """Serve until the input ends; a database that is to be kept open is, until a command does not say so."""
    kept: dict[str, kedge.Kedge] = {}
    for line in sys.stdin:
        command = json.loads(line)
        act, url, keep = ACTS[command.pop("do")], command.pop("url"), command.pop("keep", False)
        try:
            k = kept.pop(url, None) or kedge.open(url, durability="normal")
            try:
                answer = act(k, **command)
            finally:
                if keep:
                    kept[url] = k
                else:
                    k.close()
        except kedge.KedgeError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with lowered():
        main()
