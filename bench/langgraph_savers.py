"""LangGraph checkpointers: `KedgeSaver` beside LangGraph's own, on SQLite and PostgreSQL, with the same durability."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import psycopg
from langchain_core.messages import AIMessage
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool
from typing_extensions import TypedDict

import kedge
from bench.harness import Action, Measured, Setting, interleave, micro, ratio
from kedge.integrations.langgraph import KedgeSaver
from kedge.testing import postgres

CHANNELS, STEPS, THREADS, HISTORY = 10, 10, 8, 100
TEXT = "It was to arrive on Friday, and the customer asks for the third time. " * 3
_ROUNDS_MAX = 9


def savers(setting: Setting) -> Iterator[Measured]:
    """Compare steps a second, each call, and bytes a step."""
    yield from _on_sqlite(setting)
    with postgres.running({"fsync": "on"}) as server:
        yield from _on_postgres(setting, server)


def _on_sqlite(setting: Setting) -> Iterator[Measured]:
    with ExitStack() as stack:
        folder = setting.fresh("langgraph")
        folder.mkdir()
        k = stack.enter_context(kedge.open(folder / "kedge"))
        _release(k)
        theirs = stack.enter_context(SqliteSaver.from_conn_string(str(folder / "theirs.db")))
        theirs.setup()
        ours = _saver(k)
        targets = {"steps": 1.0, "put": 1.3, "get_tuple": 1.2, "put_writes": 1.5, "list": 1.2, "delete_thread": 3.0}
        yield from _compared(setting, "SqliteSaver", ours, theirs, targets)
        sizes = []
        for name, open_saver in (("bytes-kedge", None), ("bytes-theirs", SqliteSaver)):
            place = folder / name
            place.mkdir()
            taken = []
            for _ in range(2):  # closed in between, so that nothing waits in a log
                if open_saver is None:
                    with kedge.open(place) as other:
                        _say(_graph(_saver(other)), "t", 10)
                else:
                    with open_saver.from_conn_string(str(place / "x.db")) as other:
                        _say(_graph(other), "t", 10)
                taken.append(_bytes(place))
            sizes.append((taken[1] - taken[0]) / (10 * (STEPS + 2)))
        detail = f"{sizes[0] / 1e3:,.1f} kB vs {sizes[1] / 1e3:,.1f} kB"
        yield Measured(
            "SqliteSaver: bytes a step, of the second 120 steps", sizes[0] / sizes[1], "×", detail, at_most=0.5
        )


def _on_postgres(setting: Setting, server: Any) -> Iterator[Measured]:
    with ExitStack() as stack:
        k = stack.enter_context(kedge.open(server.url()))
        _release(k)
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE theirs")
        options = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0}
        url = server.url("theirs")
        pool = stack.enter_context(ConnectionPool(url, kwargs=options, min_size=THREADS, max_size=2 * THREADS))
        theirs = PostgresSaver(pool)
        theirs.setup()
        yield from _compared(setting, "PostgresSaver", _saver(k), theirs, {"steps": 0.9})


def _saver(k: kedge.Kedge) -> Any:
    return KedgeSaver(k, agent="graph")


def _release(k: kedge.Kedge) -> None:
    k.deploy("v1", {"graph/prompt": "one"})
    k.promote("v1")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ── what is measured ──


def _graph(saver: Any) -> Any:
    fields: dict[str, Any] = {"messages": Annotated[list[Any], add_messages]}
    fields |= {f"c{n}": int for n in range(1, CHANNELS)}
    built = StateGraph(TypedDict("State", fields))  # type: ignore[operator]
    for step in range(STEPS):
        channel = f"c{1 + step % (CHANNELS - 1)}"
        built.add_node(f"n{step}", lambda _, c=channel, s=step: {"messages": [AIMessage(TEXT)], c: s})
        built.add_edge(START if step == 0 else f"n{step - 1}", f"n{step}")
    return built.compile(checkpointer=saver)


def _config(thread: str, **named: Any) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **named}}


def _say(graph: Any, thread: str, times: int) -> None:
    for _ in range(times):
        graph.invoke({"messages": [("user", TEXT)]}, {"configurable": {"thread_id": thread}})


def _compared(setting: Setting, name: str, ours: Any, theirs: Any, targets: dict[str, float]) -> Iterator[Measured]:
    rounds = min(_ROUNDS_MAX, setting.sizes.rounds)
    yield _steps(rounds, name, ours, theirs, targets["steps"])
    for saver in (ours, theirs):
        _say(_graph(saver), "read", HISTORY // (STEPS + 2) + 1)
    calls: dict[str, Callable[[Any], Action]] = {
        "put": _puts, "get_tuple": _gets, "put_writes": _writes, "list": _lists, "delete_thread": _deletes,
    }  # fmt: skip
    for call, act in calls.items():
        mine, other = interleave(rounds, act(ours), act(theirs))
        detail = f"{micro(mine, COUNTS[call])} vs {micro(other, COUNTS[call])}"
        yield Measured(f"{name}: {call}", ratio(mine, other), "×", detail, at_most=targets.get(call))


COUNTS = {"put": 20, "get_tuple": 20, "put_writes": 20, "list": 1, "delete_thread": 1}


def _steps(rounds: int, name: str, ours: Any, theirs: Any, target: float) -> Measured:
    numbers = itertools.count()

    def run(saver: Any) -> Action:
        graph = _graph(saver)

        def act() -> None:
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(lambda n: _say(graph, f"s{n}", 2), [next(numbers) for _ in range(THREADS)]))

        return act

    mine, other = interleave(rounds, run(ours), run(theirs), warm_up=1)
    steps = THREADS * 2 * (STEPS + 2)
    detail = f"{micro(mine, steps)} vs {micro(other, steps)} a step"
    return Measured(f"{name}: steps a second, {CHANNELS} channels, {THREADS} threads", ratio(other, mine), "×", detail,
                    at_least=target)  # fmt: skip


def _checkpoint(saver: Any, thread: str) -> tuple[Any, Any]:
    found = saver.get_tuple(_config(thread))
    return found.config, found.checkpoint


def _puts(saver: Any) -> Action:
    def act() -> None:
        config, last = _checkpoint(saver, "read")
        for _ in range(COUNTS["put"]):
            version = saver.get_next_version(last["channel_versions"]["messages"], None)
            messages = [*last["channel_values"]["messages"][:50], last["channel_values"]["messages"][0]]
            values = {**last["channel_values"], "messages": messages}
            versions = {**last["channel_versions"], "messages": version}
            last = {**last, "id": str(uuid6()), "channel_values": values, "channel_versions": versions}
            config = saver.put(config, last, {"source": "loop", "step": 1}, {"messages": version})

    return act


def _gets(saver: Any) -> Action:
    return lambda: [saver.get_tuple(_config("read")) for _ in range(COUNTS["get_tuple"])]


def _writes(saver: Any) -> Action:
    def act() -> None:
        config, last = _checkpoint(saver, "read")
        config = saver.put(config, {**last, "id": str(uuid6())}, {"source": "loop", "step": 1}, {})  # has none yet
        for _ in range(COUNTS["put_writes"]):
            saver.put_writes(config, [("messages", TEXT), ("c1", 1), ("branch:to:n1", None)], str(uuid.uuid4()))

    return act


def _lists(saver: Any) -> Action:
    return lambda: list(saver.list(_config("read"), limit=HISTORY))


def _deletes(saver: Any) -> Action:
    graph, numbers = _graph(saver), itertools.count()
    for number in range(_ROUNDS_MAX + 2):
        _say(graph, f"d{number}", 2)
    return lambda: saver.delete_thread(f"d{next(numbers)}")
