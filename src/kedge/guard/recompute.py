"""Recomputation of a launch's decisions from the control log alone."""

import math
from typing import Any

import msgspec

from kedge.errors import InvalidValue, UnknownName, nearest
from kedge.guard.engine import advance
from kedge.guard.evidence import BEGIN, DECISION, FORMAT, LOOK, decided, decode_units, operation_of
from kedge.guard.launch_state import State, World
from kedge.guard.release import Release
from kedge.ports.control import Entry
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel

TOLERANCE = 1e-9


class Recomputed(Report, frozen=True):
    """The result: how many looks and sessions were computed again, and the first difference, if there is one."""

    name: str
    digest: str
    looks: int
    sessions: int
    phase: str
    difference: str = ""

    @property
    def ok(self) -> bool:
        """Whether every decision was reproduced."""
        return not self.difference

    def __str__(self) -> str:
        """Return the verdict."""
        done = f"{count(self.looks, 'look')}, {count(self.sessions, 'session')}"
        if self.ok:
            return f"{self.name}: every decision is reproduced from the log ({done}); its phase is {self.phase}"
        return f"{self.name}: NOT reproduced after {done}: {self.difference}"


def recompute(kernel: Kernel, name: str) -> Recomputed:
    """Compute every decision of a launch again from the log alone, up to the first difference."""
    entries = list(reversed(kernel.backend.control.entries(operation=operation_of(name))))
    begin = next((entry for entry in entries if entry.kind == BEGIN), None)
    if begin is None:
        known = [launch.name for launch in kernel.backend.launches.all()]
        raise UnknownName(f"no launch is named {name!r}{nearest(name, known)}; `kedge launch list` lists them")
    digest = str(begin.detail.get("digest"))
    try:
        release = Release.from_json(begin.detail.get("release"))
    except InvalidValue as error:
        return Recomputed(name, digest, 0, 0, "", f"its release cannot be read: {error}")
    if release.digest != digest:
        return Recomputed(name, digest, 0, 0, "", f"its release has the digest {release.digest}, not {digest}")
    return _replay(name, digest, release, [entry for entry in entries if entry.kind in (LOOK, DECISION)])


def _replay(name: str, digest: str, release: Release, looks: list[Entry]) -> Recomputed:
    state, sessions = State(), 0
    for number, entry in enumerate(looks, start=1):
        where = f"look {number} (seq {entry.seq})"
        detail = entry.detail
        if (detail.get("format"), detail.get("look")) != (FORMAT, number):
            return Recomputed(
                name, digest, number - 1, sessions, str(state.phase),
                f"{where} says that it is look {detail.get('look')} of format {detail.get('format')}",
            )  # fmt: skip
        try:
            units = decode_units(detail.get("units", {}))
            outcome = advance(release, state, units, msgspec.convert(detail.get("world"), World))
        except (InvalidValue, msgspec.ValidationError) as error:
            return Recomputed(name, digest, number - 1, sessions, str(state.phase), f"{where}: {error}")
        found = msgspec.json.decode(msgspec.json.encode(decided(release, outcome)))
        for key, value in found.items():
            place = _difference(key, value, detail.get(key))
            if place:
                return Recomputed(name, digest, number - 1, sessions, str(state.phase), f"{where}: {place}")
        state, sessions = outcome.state, sessions + len(units)
    return Recomputed(name, digest, len(looks), sessions, str(state.phase))


def _difference(where: str, computed: Any, logged: Any) -> str:
    """Return the first difference between two plain values, or "" where there is none."""
    if isinstance(computed, dict) and isinstance(logged, dict) and computed.keys() == logged.keys():
        return next(filter(None, (_difference(f"{where}.{key}", computed[key], logged[key]) for key in computed)), "")
    if isinstance(computed, list) and isinstance(logged, list) and len(computed) == len(logged):
        pairs = enumerate(zip(computed, logged, strict=True))
        return next(filter(None, (_difference(f"{where}[{at}]", a, b) for at, (a, b) in pairs)), "")
    if _is_number(computed) and _is_number(logged):
        close = math.isclose(computed, logged, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return "" if close else f"{where} is {computed:.12g}, the log says {logged:.12g}"
    return "" if computed == logged else f"{where} is {computed!r}, the log says {logged!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
