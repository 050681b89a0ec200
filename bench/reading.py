"""Reads of heads, ranges and histories; rows that a view does not show cost nothing."""

import json
import random
from collections.abc import Iterator
from functools import partial

import kedge
from bench.harness import Measured, Setting, interleave, micro, ratio
from bench.raw import SELECT, connect
from kedge.model.writes import Key, Pending, encode
from kedge.turns.scope import scope_of

SHOWN = 50
SHOWN_VALUE = {"n": 1}
BATCH = 10_000
QUICK_ROUNDS = 4  # times as many rounds where one takes a few milliseconds
KINDS = {
    "clean": "none",
    "hidden": "hidden writes",
    "superseded": "superseded versions",
    "deleted": "deleted names",
    "cleared": "names deleted under another lineage",
}


def heads(setting: Setting) -> Iterator[Measured]:
    """Compare `turn.context.get` with an indexed SELECT of the same payload."""
    folder = setting.fresh("heads")
    value = {"status": "shipped", "carrier": "northern", "items": [1, 2, 3]}
    keys = [f"case/{number}" for number in range(10_000)]
    with kedge.open(folder) as k:
        with k.turn(agent="a") as turn:
            scope_of(turn).write([Pending(Key("context", "", key), encode(value)) for key in keys])
        raw = connect(folder)
        try:
            space = raw.execute("SELECT id FROM spaces WHERE store = 'context'").fetchone()[0]
            chosen = random.Random(1).choices(keys, k=setting.sizes.reads)

            def theirs() -> None:
                for key in chosen:
                    json.loads(raw.execute(SELECT, (space, key)).fetchone()[0][1:])

            def ours() -> None:
                with k.turn(agent="a") as turn:
                    for key in chosen:
                        turn.context.get(key)

            seconds = interleave(setting.sizes.rounds * QUICK_ROUNDS, ours, theirs)
        finally:
            raw.close()
    count = len(chosen)
    yield Measured(
        "head read: time vs an indexed SELECT of the same value",
        ratio(*seconds), "×", f"{micro(seconds[0], count)} vs {micro(seconds[1], count)}", at_most=4,
    )  # fmt: skip


class _Masses:
    """Writes a few visible names and messages, and masses of invisible ones.

    hidden: written by a deployment that is then rolled back. superseded: visible, but older versions. deleted: put
    and deleted by one agent. cleared: put by users (no lineage), deleted by an agent of a live deployment.
    """

    def __init__(self, k: kedge.Kedge, mass: int) -> None:
        self._k = k
        self._mass = mass

    def write(self) -> None:
        """Write the visible rows first, then the masses, which are newer."""
        k = self._k
        k.deploy("v1", {"support/prompt": "one"})
        k.promote("v1")
        k.deploy("v2", {"support/prompt": "two"})
        for kind in KINDS:
            self._show(kind)
        names = [f"{number:07}" for number in range(self._mass)]
        self._put("v2", ["hidden/one"] * self._mass)
        self._put("v2", [f"hidden/{name}" for name in names])
        self._put("v1", ["superseded/one"] * self._mass)
        self._put("v1", [f"superseded/x{number % SHOWN:02}" for number in range(self._mass)])
        for kind, source in (("deleted", False), ("cleared", True)):
            self._put("v1", [f"{kind}/{name}" for name in names], source=source)
            self._put("v1", [f"{kind}/{name}" for name in names], payload=None)
        self._say("hidden", "assistant", "v2")
        for kind, role in (("deleted", "assistant"), ("cleared", "user")):
            self._delete(kind, self._say(kind, role, "v1"))
        k.rollback("v2", verify=False)

    def _show(self, kind: str) -> None:
        """Write as an agent without artifacts: no lineage, so every view sees it."""
        with self._k.turn(kind, "plain", deployment="v2" if kind == "hidden" else "v1") as turn:
            for number in range(SHOWN):
                turn.context.put(f"{kind}/x{number:02}", SHOWN_VALUE)
            turn.context.put(f"{kind}/one", SHOWN_VALUE)
            turn.memory.extend([("assistant", "shown")] * SHOWN)

    def _put(
        self, deployment: str, names: list[str], *, payload: bytes | None = encode(SHOWN_VALUE), source: bool = False
    ) -> None:
        with self._k.turn(agent="support", deployment=deployment) as turn:
            for start in range(0, len(names), BATCH):
                scope_of(turn).write(
                    [Pending(Key("context", "", n), payload, source) for n in names[start : start + BATCH]]
                )

    def _say(self, session: str, role: str, deployment: str) -> list[int]:
        with self._k.turn(session, "support", deployment=deployment) as turn:
            return [
                seq
                for _ in range(0, self._mass, BATCH)
                for seq in turn.memory.extend([(role, "m")] * min(BATCH, self._mass))
            ]

    def _delete(self, session: str, seqs: list[int]) -> None:
        keys = [Key("memory", session, f"{seq:016x}.{seq:016x}") for seq in seqs]
        with self._k.turn(session, "support") as turn:
            for start in range(0, len(keys), BATCH):
                scope_of(turn).write([Pending(key, None) for key in keys[start : start + BATCH]])


def _gets(k: kedge.Kedge, calls: int, kind: str) -> None:
    with k.turn(agent="support") as turn:
        for _ in range(calls):
            assert turn.context.get(f"{kind}/one") == SHOWN_VALUE


def _items(k: kedge.Kedge, calls: int, kind: str) -> None:
    with k.turn(agent="support") as turn:
        for _ in range(calls):
            assert len(turn.context.items(f"{kind}/")) == SHOWN + 1


def _histories(k: kedge.Kedge, calls: int, kind: str) -> None:
    with k.turn(session=kind, agent="support") as turn:
        for _ in range(calls):
            assert len(turn.memory.history(limit=20)) == 20


def hidden(setting: Setting) -> Iterator[Measured]:
    """Compare reads beside a mass of invisible rows with the same reads without them."""
    sizes = setting.sizes
    mass, rounds = sizes.hidden, sizes.rounds * QUICK_ROUNDS
    with kedge.open(setting.fresh("hidden"), durability="normal") as k:
        setting.say(f"writing {mass:,} hidden, superseded and deleted writes at a time")
        _Masses(k, mass).write()
        for what, read, calls, kinds in (
            ("head read", _gets, sizes.gets, ("hidden", "superseded")),
            ("items(prefix)", _items, sizes.ranges, ("hidden", "superseded", "deleted", "cleared")),
            ("history(limit=20)", _histories, sizes.ranges, ("hidden", "deleted", "cleared")),
        ):
            for kind in kinds:
                seconds = interleave(rounds, partial(read, k, calls, kind), partial(read, k, calls, "clean"))
                yield Measured(
                    f"{what} beside {mass:,} {KINDS[kind]} vs none",
                    ratio(*seconds), "×", f"{micro(seconds[0], calls)} vs {micro(seconds[1], calls)}", at_most=1.5,
                )  # fmt: skip
