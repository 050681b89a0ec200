"""Coalesced calls: concurrent callers share one run."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

if importlib.util.find_spec("psycopg") is None:
    pytest.skip("PostgreSQL's driver is not installed", allow_module_level=True)

from kedge.backends.postgres.coalesce import Coalescer
from kedge.errors import Busy

CALLS = 40


def behind(gate: threading.Event, act: Callable[[list[int]], int]) -> tuple[Coalescer[int, int, int], list[list[int]]]:
    """Return what lets a call begin, and no further until the gate is open, and what each act was called with."""
    done: list[list[int]] = []

    def noted(values: list[int]) -> int:
        gate.wait(10)
        done.append(values)
        return act(values)

    return Coalescer(noted), done


def waits_for(coalescer: Coalescer[int, int, int], calls: int) -> None:
    while len(coalescer._waiting) < calls:
        pass


def test_who_comes_while_one_is_at_it_shares_the_next() -> None:
    gate = threading.Event()
    coalescer, done = behind(gate, sum)
    with ThreadPoolExecutor(CALLS) as pool:
        first = pool.submit(coalescer.call, 0, 0)
        while not coalescer._busy or coalescer._waiting:
            pass
        others = [pool.submit(coalescer.call, n, n) for n in range(1, CALLS)]
        waits_for(coalescer, CALLS - 1)
        gate.set()
        assert first.result() == 0
        assert {other.result() for other in others} == {sum(range(CALLS))}
    assert [sorted(values) for values in done] == [[0], list(range(1, CALLS))]
    assert coalescer.call(7, 7) == 7, "nobody is at it any more"


def test_one_key_goes_once_an_act_in_the_order_of_calls() -> None:
    gate = threading.Event()
    coalescer, done = behind(gate, sum)
    with ThreadPoolExecutor(3) as pool:
        pool.submit(coalescer.call, 0, 0)
        while not coalescer._busy or coalescer._waiting:
            pass
        for number in (1, 2):
            pool.submit(coalescer.call, 5, number)
            waits_for(coalescer, number)
        gate.set()
    assert done == [[0], [1], [2]]


def test_what_is_raised_is_raised_to_all_that_shared_it_and_to_nobody_else() -> None:
    def divide(values: list[int]) -> int:
        return 1 // values[0]

    gate = threading.Event()
    coalescer, _ = behind(gate, divide)
    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(coalescer.call, 0, 0)
        gate.set()
        assert isinstance(failing.exception(), ZeroDivisionError)
    assert coalescer.call(1, 1) == 1


def test_an_interruption_ends_the_calls_of_others_and_nobody_waits_for_ever() -> None:
    def stop(values: list[int]) -> int:
        if 0 in values:
            raise KeyboardInterrupt
        return sum(values)

    gate = threading.Event()
    coalescer, _ = behind(gate, stop)
    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(coalescer.call, 0, 0)
        while not coalescer._busy or coalescer._waiting:
            pass
        other = pool.submit(coalescer.call, 1, 1)
        waits_for(coalescer, 1)
        gate.set()
        assert isinstance(other.exception(10), Busy)
        assert isinstance(stopped.exception(10), KeyboardInterrupt)
    assert coalescer.call(1, 1) == 1


def test_a_fork_waits_for_nobody() -> None:
    gate = threading.Event()
    coalescer, _ = behind(gate, sum)
    thread = threading.Thread(target=coalescer.call, args=(0, 0))
    thread.start()
    while not coalescer._busy or coalescer._waiting:
        pass
    child = os.fork()
    if child == 0:
        gate.set()
        os._exit(coalescer.call(1, 42))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    gate.set()
    thread.join()
