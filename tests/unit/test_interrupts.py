"""Deferral of signal handlers: an interruption at any instruction leaves nothing taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from kedge.support import interrupts
from kedge.support.interrupts import interruptible, shielded
from tests.concurrency import fork

INSTRUCTIONS_MAX = 2_000

EMBEDDED = """
import _thread, sys
assert "threading" not in sys.modules
is_over = _thread.allocate_lock()
is_over.acquire()

def work():
    try:
        import threading
        from kedge.support.interrupts import shielded
        print(threading.current_thread() is threading.main_thread(), shielded(lambda: "done"))
    finally:
        is_over.release()

_thread.start_new_thread(work, ())
is_over.acquire()
"""


class Stock:
    """One thing to take, use and give back."""

    def __init__(self) -> None:
        self.taken = self.given = 0
        self.saw_interruption = False

    def use(self) -> None:
        self.taken += 1
        try:
            interruptible(self.work)
        except BaseException:
            self.saw_interruption = True
            raise
        finally:
            self.given += 1

    def work(self) -> None:
        for _ in range(3):
            len("work")


@pytest.fixture(autouse=True)
def handler() -> Iterator[Any]:
    """Ctrl-C raises, as in a program of one's own."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt_at(instruction: int, stock: Stock) -> bool:
    """Use a stock with an interruption before one of the instructions; return whether there was one."""
    left = instruction

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in {__file__, interrupts.__file__} or frame.f_code.co_name == "interrupt_at":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        shielded(stock.use)
    except KeyboardInterrupt:
        assert left <= 0
    else:
        assert left > 0, "the interruption was lost"
    finally:
        sys.settrace(tracer)
    return left <= 0


def test_an_interruption_at_any_instruction_leaves_nothing_taken(handler: Any) -> None:
    in_work = 0
    for instruction in range(1, INSTRUCTIONS_MAX):
        stock = Stock()
        if not interrupt_at(instruction, stock):
            break
        assert stock.taken == stock.given, instruction
        in_work += stock.saw_interruption
        if stock.given and not stock.saw_interruption:
            assert signal.getsignal(signal.SIGINT) is handler
        signal.signal(signal.SIGINT, handler)
    assert 20 < instruction < INSTRUCTIONS_MAX - 1
    assert in_work > 10, "what may be interrupted was"


def test_shields_within_one_another_wait_for_the_outermost_that_nothing_interrupts() -> None:
    heard: list[str] = []

    def inner() -> None:
        signal.raise_signal(signal.SIGINT)
        heard.append("inner ended")

    def outer() -> None:
        try:
            interruptible(shielded, inner)
        except KeyboardInterrupt:
            heard.append("outer heard")
            raise
        finally:
            signal.raise_signal(signal.SIGINT)
            heard.append("outer ended")

    with pytest.raises(KeyboardInterrupt):
        shielded(outer)
    assert heard == ["inner ended", "outer heard", "outer ended"]


def test_what_waits_is_raised_before_a_call_that_it_may_end() -> None:
    called: list[str] = []

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        called.append("shielded")
        interruptible(called.append, "interruptible")

    with pytest.raises(KeyboardInterrupt):
        shielded(work)
    assert called == ["shielded"]


def test_every_signal_that_waits_is_handled_also_after_one_that_raises() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: handled.append(number))
    own = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    def work_and_wait() -> None:
        work()
        interruptible(len, "")

    try:
        with pytest.raises(KeyboardInterrupt):
            shielded(work)
        assert handled == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt):
            shielded(work_and_wait)
        assert handled == [signal.SIGTERM] * 2
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_handler_that_replaces_itself_waits_no_less(handler: Any, depth: int) -> None:
    heard: list[str] = []

    def first(_number: int, _frame: FrameType | None) -> None:
        """Stop at the first Ctrl-C in good order, at the second one at once, as many servers do."""
        heard.append("first")
        signal.signal(signal.SIGINT, handler)

    def work() -> None:
        interruptible(signal.raise_signal, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        heard.append("ended")

    def outer() -> None:
        interruptible(lambda: shielded(work))

    signal.signal(signal.SIGINT, first)
    with pytest.raises(KeyboardInterrupt):
        shielded({1: work, 2: outer}[depth])
    assert heard == ["first", "ended"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_another_thread_needs_no_shield() -> None:
    found: list[object] = []
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: shielded(lambda: found.append(signal.getsignal(signal.SIGINT))))
    thread.start()
    thread.join()
    assert found == [before]


def test_a_child_that_another_thread_forks_has_the_handlers_of_the_program(handler: Any) -> None:
    statuses: list[int] = []

    def fork_and_look() -> None:
        child = fork()
        if not child:
            os._exit(signal.getsignal(signal.SIGINT) is not handler)
        statuses.append(os.waitpid(child, 0)[1])

    def work() -> None:
        interruptible(shielded, look)

    def look() -> None:
        thread = threading.Thread(target=fork_and_look)
        thread.start()
        thread.join()

    shielded(work)
    assert statuses == [0]
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there, `threading` knows the main thread of the process")
def test_a_thread_that_only_seems_to_be_the_main_one_needs_no_shield() -> None:
    """So it is where a C program has begun Python in another thread than the one that imports `threading` first."""
    done = subprocess.run([sys.executable, "-c", EMBEDDED], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True done\n", "")
