"""The drill on a LangGraph team: what is left, and what is lost, after a bad release is taken back in each way.

`make drill SCENARIO=langgraph` runs it. The same team serves the same day on Kedge, and on LangGraph's own savers and
store with Chroma. At noon its support service is released with a worse prompt. In the evening the release is taken back
by each plan. Everything is judged against a twin that never had the release: the agents are deterministic, so what the
twin does not have is contamination, whatever its tags say.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from langgraph.types import Command
from rich.console import Console
from rich.table import Table

import kedge
from examples.langgraph_drill_team import HANDBOOK, HAS_CHROMA, PLACES, OnKedge, OnLangGraph, Team

PROBE = "hours"  # what the client asks while a plan is carried out; left out of every comparison
KNOWN = ("refund", "shipping")  # topics of the morning
TOPICS = [topic for topic in HANDBOOK if topic != PROBE]
ANSWER = "A-17"
CUSTOMERS_MIN = 4
_PROBES_BEFORE = 3
_REPLAY_ROUNDS = 3
KEDGE = "Kedge: roll back, replay"

Place = tuple[str, str]  # (thread or kind of value, its key)


# ── the day ──


@dataclass(frozen=True)
class Step:
    """One request: a text, or the answer to a question, in a thread."""

    thread: str
    value: Any


def say(thread: str, text: str) -> Step:
    return Step(thread, {"messages": [text]})


def morning(customers: int) -> Iterator[Step]:
    """Yield the requests before the release: of four customers, the first is asked by the clerk and does not answer."""
    for n in range(customers):
        topic, who = KNOWN[n % 2], f"m{n}"
        yield say(f"support/{who}", f"{who}: {'About my order, and the' if n % 4 == 0 else 'What about'} {topic}?")
        if n % 4 == 1:
            yield say(f"billing/{who}", f"{who}: pay the {topic}")


def evening(customers: int) -> Iterator[Step]:
    """Yield the requests after the release.

    New customers ask; some are asked in return, by the clerk or by the researcher. Billing pays for them, and for
    customers of the morning. Some of these come back; one answers the question of the morning.
    """
    for n in range(customers):
        topic, who = TOPICS[n % len(TOPICS)], f"e{n}"
        kind = {1: "About my order, and the", 3: "In writing, please: the"}.get(n % 4, "What about")
        yield say(f"support/{who}", f"{who}: {kind} {topic}?".replace("In writing", "in writing"))
        if n % 4 in {0, 2}:
            yield say(f"billing/{who}", f"{who}: pay the {topic}")
        if n % 4 == 3:
            yield say(f"billing/m{n}", f"m{n}: pay the {KNOWN[n % 2]}")
        if n % 4 == 2:
            yield say(f"support/m{n}", f"m{n}: And what about {TOPICS[(n + 1) % len(TOPICS)]}?")
    yield Step("support/m0", Command(resume=ANSWER))


# ── what is visible ──


@dataclass(frozen=True)
class Visible:
    """Texts of threads, items and cases, with how often each is there; and the questions that threads wait for."""

    values: "Counter[tuple[str, str, str]]"
    questions: "Counter[tuple[str, str]]"


def visible(team: Team, threads: list[str]) -> Visible:
    """Read everything, as the hosts show it. What the client asked is left out."""
    values: Counter[tuple[str, str, str]] = Counter()
    questions: Counter[tuple[str, str]] = Counter()
    for thread in threads:
        state = team.state(thread)
        values.update(("thread", thread, text) for text in state.values.get("messages", ()))
        questions.update((thread, found.value) for found in state.interrupts)
    for place in PLACES:
        found = team.host.store.search((place,), limit=100_000)
        values.update((place, item.key, item.value["text"]) for item in found)
    values.update(("cases", ident, text) for ident, text in team.host.cases.all().items())
    return Visible(Counter({each: n for each, n in values.items() if PROBE not in str(each)}), questions)


# ── what a plan came to ──


@dataclass(frozen=True)
class Outcome:
    """What a plan left and lost, in values and in questions to users, and how long a client waited.

    - `contaminated`: visible, and the twin does not have it. `lost`: visible before the plan, and the twin has it, and
      it is gone. `owed`: the twin has it, and it is not there, such as answers that nobody gave again.
    - `questions_bad`: threads that wait for an answer to a question that is not open in the twin. `questions_lost`:
      threads whose question is gone, though it is open in the twin, too. `questions_misled`: threads whose question is
      there, and whose user, who answers now, gets another result than in the twin.
    - `unanswered_seconds`: the longest time between two answers while the plan was carried out; `usual_seconds`: the
      median before.
    - `before`: contaminated values before the plan. `contaminated_at_once`: on Kedge, after the rollback and before the
      replay.
    """

    plan: str
    before: int
    contaminated_at_once: int
    contaminated: int
    lost: int
    owed: int
    questions_bad: int
    questions_lost: int
    questions_misled: int
    unanswered_seconds: float
    usual_seconds: float
    plan_seconds: float
    examples: tuple[str, ...]

    def passes(self) -> bool:
        """Return whether the release did harm, nothing is left, lost or owed, and threads are as in the twin."""
        values = self.contaminated_at_once + self.contaminated + self.lost + self.owed
        questions = self.questions_bad + self.questions_lost + self.questions_misled
        return self.before > 0 and values + questions == 0


class Desk:
    """A team in service, with a client who asks one question after another while a plan is carried out."""

    def __init__(self, team: Team, threads: list[str]) -> None:
        self.team, self.threads, self.lock = team, threads, threading.Lock()
        self.at_once: Visible | None = None
        self._answered: list[float] = []
        self._enough = threading.Condition()
        self._closing = False

    @contextmanager
    def client(self) -> Iterator[None]:
        """Ask before, during and after a `with` block."""
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            self._wait_for(_PROBES_BEFORE)
            yield
            self._wait_for(len(self._answered) + 2)
        finally:
            self._closing = True
            thread.join()

    def waits(self, begin: float) -> tuple[float, float]:
        """Return the longest time between two answers of which one came after a moment, and the median before it."""
        pairs = list(pairwise(self._answered))
        usual = median(later - earlier for earlier, later in pairs if later < begin)
        return max(later - earlier for earlier, later in pairs if later >= begin), usual

    def _ask(self) -> None:
        number = 0
        while not self._closing:
            number += 1
            who = f"{PROBE}-{number}"
            with suppress(kedge.RolledBack), self.lock:  # after a rollback in the middle, the client asks again
                self.team.invoke(f"support/{who}", {"messages": [f"{who}: What about {PROBE}?"]})
                with self._enough:
                    self._answered.append(time.perf_counter())
                    self._enough.notify_all()

    def _wait_for(self, count: int) -> None:
        with self._enough:
            if not self._enough.wait_for(lambda: len(self._answered) >= count, timeout=120):
                raise TimeoutError("the client gets no answer")


@dataclass(frozen=True)
class Twin:
    """What the team has that never had the release, and each thread's texts after its user has answered."""

    visible: Visible
    answered: dict[str, list[str]]


def serve(team: Team, steps: Iterator[Step]) -> list[str]:
    """Serve requests, one after another, and return their threads."""
    threads = []
    for step in steps:
        team.invoke(step.thread, step.value)
        threads.append(step.thread)
    return threads


def answer(team: Team, threads: list[str]) -> dict[str, list[str]]:
    """Answer the question of each thread, and return its texts. A refused or impossible answer changes nothing."""
    texts = {}
    for thread in threads:
        try:
            team.invoke(thread, Command(resume=ANSWER))
        except (kedge.RolledBack, KeyError, AttributeError, StopIteration, RuntimeError, IndexError) as refused:
            texts[thread] = [f"refused: {type(refused).__name__}"]
        else:
            texts[thread] = list(team.state(thread).values.get("messages", ()))
    return texts


def twin_of(team: Team, customers: int) -> Twin:
    """Serve the day without the release."""
    threads = list(dict.fromkeys(serve(team, morning(customers)) + serve(team, evening(customers))))
    found = visible(team, threads)
    return Twin(found, answer(team, sorted({thread for thread, _ in found.questions})))


def carry_out(
    plan: str, team: Team, twin: Twin, customers: int, *, noon: Callable[[], None], act: Callable[[Desk], None]
) -> Outcome:
    """Serve the day with the release, take it back by a plan, and judge what is there against the twin."""
    threads = serve(team, morning(customers))
    noon()
    team.host.deploy("v2")
    threads = list(dict.fromkeys(threads + serve(team, evening(customers))))
    before = visible(team, threads)
    desk = Desk(team, threads)
    with desk.client():
        begin = time.perf_counter()
        act(desk)
        seconds = time.perf_counter() - begin
    return judge(plan, desk, before, twin, (begin, seconds))


def judge(plan: str, desk: Desk, before: Visible, twin: Twin, timing: tuple[float, float]) -> Outcome:
    """Compare what is visible after a plan with what was before it, and with the twin."""
    after, (begin, seconds) = visible(desk.team, desk.threads), timing
    should = twin.visible
    asked = before.questions & should.questions
    still = sorted({thread for thread, _ in asked & after.questions})
    longest, usual = desk.waits(begin)
    bad = after.values - should.values
    texts = answer(desk.team, still)  # last: it changes what is there
    return Outcome(
        plan=plan,
        before=(before.values - should.values).total(),
        contaminated_at_once=((desk.at_once or after).values - should.values).total(),
        contaminated=bad.total(),
        lost=((before.values & should.values) - after.values).total(),
        owed=(should.values - after.values).total(),
        questions_bad=(after.questions - should.questions).total(),
        questions_lost=(asked - after.questions).total(),
        questions_misled=sum(texts[thread] != twin.answered[thread] for thread in still),
        unanswered_seconds=round(longest, 3),
        usual_seconds=round(usual, 3),
        plan_seconds=round(seconds, 3),
        examples=tuple(f"{kind} {key}: {text}" for kind, key, text in sorted(bad)[:5]),
    )


# ── the plans ──


def on_kedge(folder: Path, customers: int, server: str | None = None, *, tell: Callable[[str], None]) -> Outcome:
    """Roll the release back, and answer again what it has answered; on SQLite, or on a server of PostgreSQL."""
    places: list[Path | str] = [folder / "twin", folder / "kedge"]
    if server is not None:
        from examples.langgraph_drill_postgres import new_database  # noqa: PLC0415 - need not be installed

        places = [new_database(server), new_database(server)]
    with ExitStack() as stack:
        twin = twin_of(Team(OnKedge(places[0], stack)), customers)
        host = OnKedge(places[1], stack)
        team = Team(host)

        def act(desk: Desk) -> None:
            tell(host.k.rollback("v2", reason="made-up policies").verdict)
            desk.at_once = visible(team, desk.threads)
            for _round in range(_REPLAY_ROUNDS):  # the client's input that the rollback has interrupted may come late
                tell(str(host.replay(team)))
                if not host.k.replay_pending():
                    break

        return carry_out(KEDGE, team, twin, customers, noon=lambda: None, act=act)


def on_langgraph(folder: Path, customers: int, server: str | None = None) -> list[Outcome]:
    """Take the release back in the three ways that there are without lineage; on SQLite, or on PostgreSQL."""
    make: Callable[[Path, ExitStack], OnLangGraph] = OnLangGraph
    if server is not None:
        from examples.langgraph_drill_postgres import OnPostgres  # noqa: PLC0415 - need not be installed

        make = partial(OnPostgres, server)
    with ExitStack() as stack:
        twin = twin_of(Team(make(folder / "twin", stack)), customers)
        outcomes = []
        for number, (plan, take_back) in enumerate(
            [("redeploy the old version", _redeploy), ("restore the snapshots", _restore), ("delete by tag", _delete)]
        ):
            host = make(folder / f"plan-{number}", stack)

            def act(
                desk: Desk,
                host: OnLangGraph = host,
                take_back: Callable[[Desk, OnLangGraph, ExitStack], None] = take_back,
            ) -> None:
                take_back(desk, host, stack)

            outcomes.append(carry_out(plan, Team(host), twin, customers, noon=host.snapshot, act=act))
        return outcomes


def _redeploy(_: Desk, host: OnLangGraph, __: ExitStack) -> None:
    host.deploy("v1")


def _restore(desk: Desk, host: OnLangGraph, stack: ExitStack) -> None:
    """Stop the team, copy the snapshots of noon back, and start it with the old version."""
    with desk.lock:
        desk.team = Team(host.restored(stack))


def _delete(_: Desk, host: OnLangGraph, __: ExitStack) -> None:
    host.deploy("v1")
    host.delete_tagged("v2")


# ── the table ──


def table_of(outcomes: list[Outcome]) -> Table:
    """Return the table that the README shows."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("plan", no_wrap=True)
    for heading in (
        "contaminated\nvalues left",
        "legitimate\nwrites lost",
        "interrupted threads",
        "seconds out\nof service",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in outcomes:
        bad, lost, misled = each.questions_bad, each.questions_lost, each.questions_misled
        threads = f"{bad} wrong, {lost} lost, {misled} misled"
        table.add_row(
            each.plan,
            f"{each.contaminated} of {each.before}",
            str(each.lost),
            threads,
            f"{each.unanswered_seconds:.2f}",
        )
    return table


def run(
    customers: int, folder: Path, server: str | None = None, *, tell: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Carry out every plan on a team of its own, and return what each came to; Kedge's is the first."""
    ours = on_kedge(folder / "kedge", customers, server, tell=tell)
    return [ours, *on_langgraph(folder / "langgraph", customers, server)]


def main(arguments: list[str] | None = None) -> int:
    """Run the drill from the command line; 1 if something is left or lost on Kedge."""
    parser = argparse.ArgumentParser(prog="make drill SCENARIO=langgraph", description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=24, help="new customers before, and after, the release")
    parser.add_argument("--server", help="address of a PostgreSQL database, beside which others are made; not SQLite")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.customers < CUSTOMERS_MIN:
        parser.error(
            f"invalid --customers {chosen.customers}: must be at least {CUSTOMERS_MIN}, to have each kind of request"
        )
    console = Console(width=120)
    tell = (lambda _: None) if chosen.json else console.print
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        outcomes = run(chosen.customers, Path(folder), chosen.server, tell=tell)
    passed = outcomes[0].passes()
    if chosen.json:
        sys.stdout.write(
            json.dumps({"passed": passed, "chroma": HAS_CHROMA, "plans": list(map(asdict, outcomes))}) + "\n"
        )
        return not passed
    console.print(table_of(outcomes))
    kind = "Sqlite" if chosen.server is None else "Postgres"
    vectors = "Chroma" if HAS_CHROMA else "the store too, as Chroma is not installed"
    console.print(
        f"\nWithout Kedge: threads in {kind}Saver, items in {kind}Store, vectors in {vectors}. The release had "
        f"{chosen.customers} new customers. The twin that never had it says what is contaminated."
    )
    for each in outcomes[1:]:
        if each.examples:
            console.print(f"Left by “{each.plan}”, for example: {each.examples[0]}", markup=False)
    console.print("PASSED." if passed else f"FAILED: {outcomes[0]}", style="bold")
    return not passed


if __name__ == "__main__":
    sys.exit(main())
