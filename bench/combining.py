"""Many live deployments whose lineages combine: turns, ranges, searches and opening against one live deployment."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import numpy as np

import kedge
from bench.harness import Measured, Setting, interleave, median, ratio, timed
from kedge.testing import postgres

AGENTS = 12
KEYS = 50
DIM = 16
FEW, MANY, MOST = 1, 12, 40
SYNCED = {"fsync": "on", "shared_buffers": "256MB"}


class Program:
    """Turns of agents that read each other's artifacts, and write to few keys.

    The turns are the same whatever the number of live deployments; only the lineages differ.
    """

    def __init__(self, place: str, live: int, agents: int = AGENTS) -> None:
        self.place = place
        self.agents = agents
        self.k = kedge.open(place)
        self.k.collection("kb", dim=DIM)
        self._chance = random.Random(7)
        self._vectors = np.random.default_rng(7).standard_normal((1_000, DIM)).astype(np.float32)
        for number in range(agents):
            self.k.deploy(f"base-{number}", {f"a{number}/prompt": f"prompt {number}"})
            self.k.promote(f"base-{number}")
            self.k.settle(f"base-{number}")
        for number in range(live):
            self.k.deploy(f"new-{number}", {f"a{number % agents}/prompt": f"new prompt {number}"}, independent=True)
            self.k.promote(f"new-{number}")

    def turn(self) -> None:
        """Run the next turn: it reads some artifacts, overwrites a value and a vector, and reads nothing of these."""
        chance = self._chance
        agent, key, value = chance.randrange(self.agents), chance.randrange(KEYS), chance.random()
        others = chance.sample(range(self.agents), chance.choice((0, 0, 1, 1, 2)))
        vector = self._vectors[chance.randrange(len(self._vectors))]
        with self.k.turn(agent=f"a{agent}") as turn:
            for other in others:
                turn.artifacts.get(f"a{other}/prompt")
            turn.context.put(f"case/{key:03}", {"value": value})
            turn.vectors("kb").upsert([f"doc/{key:03}"], vector[None, :], [{"value": value}])

    def items(self) -> None:
        """Read all values."""
        assert self.k.view().context.items("case/")

    def search(self) -> None:
        """Search for ten vectors."""
        assert self.k.view().vectors("kb").search(self._vectors[0], k=10)

    def open(self) -> None:
        """Open the database anew, and search."""
        with kedge.open(self.place) as k:
            assert k.view().vectors("kb").search(self._vectors[0], k=10)


def combining(setting: Setting) -> Iterator[Measured]:
    """Compare twelve and forty live deployments with one, and a key of many lineages with a key of one."""

    def place(name: str) -> str:
        return f"sqlite:///{setting.fresh(name)}/kedge.db"

    yield from _measured(setting, "SQLite", place)
    if find_spec(postgres.PACKAGE) is None or find_spec("psycopg") is None:
        setting.say("PostgreSQL is not installed: make bench DB=postgres")
        return
    with postgres.running(SYNCED) as server:

        def made(name: str) -> str:
            _execute(server.url(), f"CREATE DATABASE {name}")
            return str(server.url(name))

        yield from _measured(setting, "PostgreSQL", made)


def _measured(setting: Setting, backend: str, place: Callable[[str], str]) -> Iterator[Measured]:
    with ExitStack() as stack:
        one, many, most = (
            stack.enter_context(_closing(Program(place(name), live, agents)))
            for name, live, agents in (("one", FEW, AGENTS), ("many", MANY, AGENTS), ("most", MOST, MOST))
        )
        programs = {"1": one, f"{MANY}": many, f"{MOST}": most}
        turns: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(setting.sizes.turns):
            setting.say(f"{backend}: turn {number:,} of {setting.sizes.turns:,}")
            for name, program in programs.items():
                with timed(turns[name]):
                    program.turn()
        late = slice(setting.sizes.turns // 2, None)
        taken = {"turn": [turns[name][late] for name in programs]}
        for what in ("items", "search", "open"):
            actions = [getattr(program, what) for program in programs.values()]
            taken[what] = interleave(setting.sizes.rounds, *actions)
        for what, (least, some, all_of_them) in taken.items():
            for live, seconds in ((MANY, some), (MOST, all_of_them)):
                at_most = {"turn": 1.5}.get(what, 2.0) if live == MANY else 3.0
                yield Measured(
                    f"{backend}: {what}, {live} live vs 1", _ratio(what, seconds, least), "×",
                    f"{median(seconds) * 1e3:.2f} ms vs {median(least) * 1e3:.2f} ms", at_most=at_most,
                )  # fmt: skip
    yield from _contested(setting, backend, place)


def _ratio(what: str, taken: list[float], reference: list[float]) -> float:
    return median(taken) / median(reference) if what == "turn" else ratio(taken, reference)


def _contested(setting: Setting, backend: str, place: Callable[[str], str]) -> Iterator[Measured]:
    """Compare a put at a key that many incomparable lineages have written with a put at a key of one."""
    lineages = setting.sizes.lineages
    with _closing(Program(place("key"), lineages, lineages)) as program:
        k = program.k
        for number in range(lineages):
            setting.say(f"{backend}: lineage {number} of {lineages}")
            with k.turn(agent=f"a{number}") as turn:
                turn.context.put("contested", number)
        with k.turn(agent="a0") as first, k.turn(agent="a1") as second:
            first.context.put("alone", 1)
            turns = (first, second)

            def put(name: str) -> Callable[[], Any]:
                state = {"number": 0}

                def act() -> None:
                    state["number"] += 1
                    turn = first if name == "alone" else turns[state["number"] % 2]
                    turn.context.put(name, state["number"])

                return act

            contested, alone = interleave(setting.sizes.rounds * 4, put("contested"), put("alone"))
        yield Measured(
            f"{backend}: put at a key of {lineages} lineages vs of one", ratio(contested, alone), "×",
            f"{median(contested) * 1e3:.2f} ms vs {median(alone) * 1e3:.2f} ms", at_most=5.0,
        )  # fmt: skip


class _closing(ExitStack):  # noqa: N801 - as `contextlib.closing`
    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.callback(program.k.close)

    def __enter__(self) -> Any:
        return self.program


def _execute(url: str, statement: str) -> None:
    import psycopg  # noqa: PLC0415 - not there where the server is not

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
