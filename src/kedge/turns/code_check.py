"""A turn on other code than its view pins: let it pass, say so, or refuse it."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from kedge.errors import InvalidValue, OtherCode, ReadOnly
from kedge.model.artifacts import label, unpack
from kedge.model.code import CODE, COUNTED, POLICIES, is_other, read_code, running
from kedge.model.writes import Head
from kedge.ports.metrics import Sample
from kedge.turns.kernel import Kernel


class OtherCodeWarning(UserWarning):
    """A turn runs other code than its view pins."""


class Sampled(Protocol):
    """A turn, as far as counting needs it."""

    def sample(self, metric: str, value: str) -> Sample:
        """Return a metric sample of this turn."""


def state(kernel: Kernel, code: str | Mapping[str, str] | None, policy: str) -> None:
    """Take what code this process says that it runs, and what shall become of turns whose view pins another."""
    if policy not in POLICIES:
        raise InvalidValue(f"other_code={policy!r} is unknown; use one of {', '.join(POLICIES)}")
    kernel.code, kernel.other_code = read_code(code), policy


def check(kernel: Kernel, turn: Sampled, agent: str, own_artifacts: Iterable[Head]) -> None:
    """Count it where this process runs other code than a turn's view pins, and warn or raise `OtherCode`."""
    if not kernel.code or kernel.other_code == "ignore":
        return
    head = next((head for head in own_artifacts if head.key.name == f"{agent}/{CODE}"), None)
    if head is None:
        return
    pin = unpack(head.payload)
    if not is_other(kernel.code, agent, pin):
        return
    runs = running(kernel.code, agent) or "code that it does not name"
    what = f"runs {runs}, view pins {label(pin)}"
    with suppress(ReadOnly):
        kernel.backend.metrics.observe(turn.sample(COUNTED + kernel.other_code, what))
    said = (
        f"this process runs {runs} as {agent!r}, where the view pins {label(pin)}: route its session to a process that "
        "runs that (k.assignment says what it sees)"
    )
    if kernel.other_code == "refuse":
        raise OtherCode(said)
    if what not in kernel.warned:
        kernel.warned.add(what)
        warnings.warn(said, OtherCodeWarning, stacklevel=4)
