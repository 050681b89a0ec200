"""Code check: a turn whose process runs different code than its view pins is ignored, warned about or refused."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from kedge.errors import InvalidValue, OtherCode, ReadOnly
from kedge.model.artifacts import label, unpack
from kedge.model.code import CODE, COUNTED, POLICIES, is_other, read_code, running
from kedge.model.writes import Head
from kedge.ports.metrics import Sample
from kedge.support.user_warnings import warn_user
from kedge.turns.kernel import Kernel


class OtherCodeWarning(UserWarning):
    """A turn runs different code than its view pins."""


class Sampled(Protocol):
    """What counting needs of a turn."""

    def sample(self, metric: str, value: str) -> Sample:
        """Return a metric sample of this turn."""


def configure(kernel: Kernel, code: str | Mapping[str, str] | None, policy: str) -> None:
    """Set the code that this process runs, and the policy for turns whose view pins other code."""
    if policy not in POLICIES:
        raise InvalidValue(f"invalid other_code {policy!r}: must be one of {', '.join(POLICIES)}")
    kernel.code, kernel.other_code = read_code(code), policy


def check(kernel: Kernel, turn: Sampled, agent: str, own_artifacts: Iterable[Head]) -> None:
    """Count a turn whose view pins other code than this process runs; then warn or raise `OtherCode`."""
    if not kernel.code or kernel.other_code == "ignore":
        return
    head = next((head for head in own_artifacts if head.key.name == f"{agent}/{CODE}"), None)
    if head is None:
        return
    pin = unpack(head.payload)
    if not is_other(kernel.code, agent, pin):
        return
    runs = running(kernel.code, agent) or "unnamed code"
    what = f"runs {runs}, view pins {label(pin)}"
    with suppress(ReadOnly):
        kernel.backend.metrics.observe(turn.sample(COUNTED + kernel.other_code, what))
    said = (
        f"this process runs {runs} as {agent!r}, but the view pins {label(pin)}: route the session to a process that "
        "runs the pinned code (k.assignment returns what a session sees)"
    )
    if kernel.other_code == "refuse":
        raise OtherCode(said)
    if what not in kernel.warned:
        kernel.warned.add(what)
        warn_user(said, OtherCodeWarning)
