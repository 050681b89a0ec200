"""In-memory database of the launch simulation: control record, level entries, sessions, and the row of one launch."""

import random
from collections.abc import Callable
from typing import Any

import msgspec

from kedge.guard.launch_state import Action, LaunchUnit, Outcome, Request, State, World
from kedge.guard.release import Release
from kedge.model import transitions
from kedge.model.control import Status
from kedge.model.ladder import LevelEntry, LevelSource, Scope, loosened, may_loosen
from kedge.model.launches import PilotLost
from kedge.model.levels import Level
from kedge.ports.control import EpochMoved
from kedge.testing.sim.store import SimStore

CANARY = "v2"


class Seat(msgspec.Struct):
    """A session: what was assigned to it by chance, and its verdict with the time of its arrival."""

    number: int
    arm: str
    share: float
    era: int
    at: float
    is_promoted: bool = False
    verdict: bool | None = None
    answered_at: float = 0.0


class Logged(msgspec.Struct, frozen=True):
    """One look as the log keeps it: what it took in and what it made of that, as JSON."""

    version: int
    pilot: str
    first: int  # the number of the first session that it took
    units: bytes
    world: bytes
    state: bytes
    actions: tuple[Action, ...]


class Row(msgspec.Struct, frozen=True):
    """The launch as it is stored."""

    state: bytes
    version: int
    done: int
    actions: tuple[Action, ...]
    cursor: int
    holder: str | None = None
    trouble: str = ""


class Found(msgspec.Struct, frozen=True):
    """What a look reads, in one statement."""

    row: Row
    units: tuple[LaunchUnit, ...]
    world: World


class LaunchStore(SimStore):
    """The parts of the database that pilots, members and persons use, in one order, by the laws of the ports."""

    def __init__(self, release: Release, clock: Callable[[], float], dice: random.Random) -> None:
        super().__init__(1)
        self.record = transitions.settle(self.record, "v1")
        self.record = transitions.stage(self.record, CANARY, artifacts=(), bases=(), now=clock(), by="sim")
        self.release = release
        self.clock, self._dice = clock, dice
        self.entries: dict[str, LevelEntry] = {}
        self.by_epoch: dict[int, tuple[LevelEntry, ...]] = {self.record.epoch: ()}
        self.seats: list[Seat] = []
        self.looks: list[Logged] = []
        self.requests: list[Request] = []
        self.row = Row(msgspec.json.encode(State()), 0, 0, (), 0)
        self.until = float("-inf")
        self.era = 0
        self.applied: set[str] = set()
        self.on_action: Callable[[int, int, Action], None] = lambda *_: None
        self.on_look: Callable[[Row], None] = lambda _: None
        self.on_entries: Callable[[LevelSource], None] = lambda _: None
        self.on_effect: Callable[[int, str, str], None] = lambda *_: None

    # ── the launch ──

    def acquire(self, pilot: str, seconds: float) -> Row:
        """Take or renew the lease, unless another one holds it; return the launch as it stands then."""
        now = self.clock()
        if self.row.holder in (None, pilot) or self.until < now:
            self.row = msgspec.structs.replace(self.row, holder=pilot)
            self.until = now + seconds
        return self.row

    def look(self) -> Found:
        """Return what a look takes in."""
        now = self.clock()
        units = []
        for seat in self.seats[self.row.cursor :]:
            due = seat.at + self.release.metrics[0].deadline
            if due > now:
                break
            is_known = seat.verdict is not None and seat.answered_at <= due
            verdicts = {"resolved": seat.verdict if is_known else None}
            units.append(
                LaunchUnit(seat.arm, seat.share, seat.era, verdicts, is_promoted=seat.is_promoted)  # type: ignore[arg-type]
            )
        deployment = self._canary()
        state = msgspec.json.decode(self.row.state, type=State)
        world = World(
            now=now,
            status=self._status(),
            weight=0.0 if deployment is None else deployment.weight,
            era=self.era,
            since=0.0 if deployment is None else deployment.since,
            by="" if deployment is None else deployment.by,
            gates=(),
            requests=tuple(request for request in self.requests if request.number > state.requests),
            trouble=self.row.trouble,
        )
        return Found(self.row, tuple(units), world)

    def advance(self, pilot: str, version: int, found: Found, outcome: Outcome) -> None:
        """Store the version after `version`, and an entry of the log; raise `PilotLost` for another holder."""
        if (self.row.holder, self.row.version) != (pilot, version):
            raise PilotLost(f"{pilot} is not the pilot of version {version}")
        state = msgspec.json.encode(outcome.state)
        cursor = self.row.cursor + len(found.units)
        units, world = msgspec.json.encode(found.units), msgspec.json.encode(found.world)
        self.on_look(self.row)
        self.looks.append(Logged(version + 1, pilot, found.row.cursor, units, world, state, outcome.actions))
        done = self.row.done if outcome.actions else version + 1
        self.row = Row(state, version + 1, done, outcome.actions, cursor, pilot)

    def get(self) -> Row:
        """Return the launch as it stands."""
        return self.row

    def mark_done(self, pilot: str, version: int, trouble: str) -> None:
        """Record that the actions of a version are done, or why not; raise `PilotLost` for another holder."""
        if (self.row.holder, self.row.version) != (pilot, version):
            raise PilotLost(f"{pilot} is not the pilot of version {version}")
        self.row = msgspec.structs.replace(self.row, done=version, trouble=trouble)

    def act(self, version: int, place: int, operation: str, action: Action) -> None:
        """Do an action of a look, once for each operation."""
        if operation in self.applied:
            return
        self._do(action)
        self.applied.add(operation)
        self.on_action(version, place, action)

    def _do(self, action: Action) -> None:
        now = self.clock()
        match action.kind:
            case "canary":
                self._flip(transitions.canary(self.record, CANARY, action.weight, now=now, by="guard"))
            case "promote":
                self._flip(transitions.promote(self.record, CANARY, now=now, by="guard", holdback=action.weight))
            case "settle":
                self._flip(transitions.settle(self.record, CANARY))
            case "roll_back":
                if self._status() is not Status.ROLLED_BACK:
                    self._flip(transitions.roll_back(self.record, CANARY, now=now, by="guard"))
            case "tighten":
                scope = Scope("deployment", CANARY)
                self.enter(LevelEntry("guard", scope, Level.SUPERVISED, LevelSource.GUARD, "guard", action.text, now))
            case "loosen":
                entry = self.entries.get("guard")
                if entry is not None:
                    self.lift(entry.id, LevelSource.GUARD)

    def ask(self, operation: str, request: Request) -> None:
        """Record what a person asks of the launch, once for each operation."""
        if operation in self.applied:
            return
        self.applied.add(operation)
        number = len(self.requests) + 1
        self.requests.append(msgspec.structs.replace(request, number=number))

    # ── levels ──

    def enter(self, entry: LevelEntry) -> None:
        """Add a level entry, in a change of its own; a person's once for each name."""
        if entry.source is LevelSource.PERSON:
            if entry.id in self.applied:
                return
            self.applied.add(entry.id)
        self.entries[entry.id] = entry
        self._flip(msgspec.structs.replace(self.record, epoch=self.record.epoch + 1), entry.source)

    def lift(self, entry_id: str, source: LevelSource) -> None:
        """Loosen a level entry, in a change of its own."""
        entry = self.entries.get(entry_id)
        if entry is None:
            return
        latched = self._status() is Status.ROLLED_BACK
        may_loosen(entry, source=source, latched=latched)
        left = loosened(entry, source=source)
        self.entries = (
            {**self.entries, entry_id: left} if left else {k: e for k, e in self.entries.items() if e != entry}
        )
        self._flip(msgspec.structs.replace(self.record, epoch=self.record.epoch + 1), source)

    def entries_at(self, epoch: int) -> tuple[LevelEntry, ...]:
        """Return the level entries of an epoch."""
        return self.by_epoch[epoch]

    def effect(self, epoch: int, session: str, arm: str) -> None:
        """Record an irreversible effect that a member does at an epoch; refuse it where the epoch has moved."""
        if epoch != self.record.epoch:
            raise EpochMoved(f"at {self.record.epoch}, not {epoch}")
        self.on_effect(epoch, session, arm)

    # ── sessions ──

    def begin_session(self) -> Seat:
        """Assign a session by chance."""
        deployment, status = self._canary(), self._status()
        share = {Status.CANARY: deployment.weight if deployment else 0.0, Status.LIVE: 1 - self.release.holdback}.get(
            status, 0.0
        )
        arm = "canary" if self._dice.random() < share else "baseline"
        seat = Seat(len(self.seats), arm, share, self.era, self.clock(), status is Status.LIVE)
        if status in (Status.CANARY, Status.LIVE) and 0 < share < 1:
            self.seats.append(seat)
        return seat

    def observe(self, seat: Seat, verdict: bool) -> None:  # noqa: FBT001 - arguments of a call are by place
        """Record the verdict of a session, once."""
        if seat.verdict is None:
            seat.verdict, seat.answered_at = verdict, self.clock()

    # ── the record ──

    def _canary(self) -> Any:
        return next((found for found in self.record.deployments if found.name == CANARY), None)

    def _status(self) -> Status:
        deployment = self._canary()
        return Status.SETTLED if deployment is None else self.record.status(deployment)

    def _flip(self, record: Any, source: LevelSource = LevelSource.GUARD) -> None:
        before = self._canary()
        self.record = record
        self.by_epoch[record.epoch] = tuple(self.entries.values())
        after = self._canary()
        if before is None or after is None or (before.weight, before.status) != (after.weight, after.status):
            self.era += 1
        self.on_entries(source)
