"""A month of a chat load, by a clock set forward: content and bookkeeping stay within what is live and two days."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import kedge
from tests.contract import forward
from tests.contract.forward import DAY, Clock
from tests.databases import raw_rows
from tests.stateful.share import SOAKING

clock, k = forward.clock, forward.k

DAYS, SESSIONS, TURNS = (30, 20, 5) if SOAKING else (8, 6, 4)  # a day has so many sessions, each so many turns
KEPT_DAYS = 1
PURGED_AFTER_DAYS = 2
ROW_BYTES = 900  # of a write without its content: row, indexes, head, turn, reads, idempotency key

AUTHORS = "SELECT turn FROM writes WHERE salt IS NOT NULL"
CONTENT = "SELECT coalesce(sum(length(payload)), 0) FROM writes"


class Month:
    """The load: sessions that chat, cases that are updated with each answer, a release a day, some rolled back."""

    def __init__(self, k: kedge.Kedge, clock: Clock) -> None:
        self.k, self.clock, self.dice = k, clock, random.Random(1)
        self.sessions: set[str] = set()
        self.superseded: Counter[int] = Counter()  # bytes written to keys that are written again, by day

    def day(self, number: int) -> None:
        """Work for a day."""
        name = f"release-{number}"
        self.k.deploy(name, {"support/prompt": f"prompt {number}"}, canary=1.0)
        self.k.promote(name)
        for session in range(SESSIONS):
            for _ in range(TURNS):
                self.turn(f"s-{number}-{session}", number)
            self.clock.ahead += DAY / SESSIONS
        if number % 5 == 1:
            self.k.rollback(name, verify=False)
        else:
            self.k.settle(name)

    def turn(self, session: str, number: int) -> None:
        """Ask and answer, update the case and a shared summary, and have another agent write the bill."""
        self.sessions.add(session)
        with self.k.turn(session=session, agent="support") as turn:
            turn.memory.append("user", "where is my order? " * 3)
            case = "case " * self.dice.randint(100, 400)
            turn.context.put(f"case/{self.dice.randrange(20)}", case, idempotency=f"{session}/{self.dice.random()}")
            turn.context.put("summary", case)
            turn.memory.append("assistant", "on its way. " * 5)
            turn.observe("resolved", True)
            with self.k.turn(agent="billing", parent=turn.headers()) as callee:
                callee.context.get("summary", None)
                callee.context.put(f"bill/{self.dice.randrange(5)}", case)
                turn.absorb(callee.headers())
        self.superseded[number] += 3 * len(case)


def test_a_month_of_chat_stays_within_its_bound(k: kedge.Kedge, place: str, clock: Clock) -> None:
    for store in ("context", "documents", "artifacts", "idempotency", "reads", "sessions"):
        k.set_retention(KEPT_DAYS * DAY, store=store)
    k.set_retention(PURGED_AFTER_DAYS * DAY, store="metrics")
    k.set_retention(purge_after=PURGED_AFTER_DAYS * DAY)
    month = Month(k, clock)
    for number in range(DAYS):
        month.day(number)
        k.reclaim()
        check(k, place, month, number)
    assert k.fsck(full=True).findings == ()
    assert {str(d.status) for d in k.deployments()} >= {"settled", "purged"}


def check(k: kedge.Kedge, place: str, month: Month, today: int) -> None:
    """Compare what the database takes with what is live, and what the policies keep."""
    view = k.view()
    shown = [message for session in month.sessions for message in k.view(session=session).memory.history()]
    live = sum(len(str(message.content)) + 60 for message in shown)  # with the names of the fields
    live += sum(len(str(value)) + 60 for value in view.context.items().values())
    # a rolled-back release keeps its day until it is purged, and what it hides from the day before
    days = PURGED_AFTER_DAYS + 2 if any(d.status == "rolled back" for d in k.deployments()) else KEPT_DAYS + 1
    recent = sum(month.superseded[day] for day in range(today - days, today + 1))
    check_bookkeeping(place, days)
    content = int(raw_rows(place, CONTENT)[0][0])
    assert content <= live + recent + 60 * 4 * TURNS * SESSIONS * (days + 1)
    if place.startswith("sqlite"):
        writes = int(raw_rows(place, "SELECT count(*) FROM writes")[0][0])
        file = Path(place.removeprefix("sqlite:///"))
        size = sum(part.stat().st_size for part in file.parent.glob(file.name))
        most = max(sum(month.superseded[day] for day in range(at - days, at + 1)) for at in range(today + 1))
        assert size <= 500_000 + 2 * (live + most) + ROW_BYTES * writes, (size, live, most, writes)


def check_bookkeeping(place: str, days: int) -> None:
    """Compare the rows of bookkeeping with what some days of the load make."""
    turns = SESSIONS * TURNS * (days + 1)
    bounds = {
        "reads": (2 + 3) * turns,  # of the caller and of the callee, as each of them reads and writes in turn
        "edges": 3 * turns,
        "sessions": SESSIONS * (days + 1),
        "control_log WHERE kind = 'session'": SESSIONS * (days + 1),
        f"turns WHERE id NOT IN ({AUTHORS})": 2 * turns,
    }
    counted = {rows: int(raw_rows(place, f"SELECT count(*) FROM {rows}")[0][0]) for rows in bounds}
    assert all(counted[rows] <= most for rows, most in bounds.items()), (counted, bounds)
