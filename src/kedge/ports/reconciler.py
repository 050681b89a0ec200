"""External systems that follow artifacts: model servers, alias registries, caches, migrations."""

from typing import Protocol, runtime_checkable

from kedge.model.artifacts import Artifact


class Reconciler(Protocol):
    """One external system, to be brought to what the head of each artifact that it follows pins.

    Laws: `observe` asks the system itself, never a memory of what was commanded, and changes nothing. `converge` is
    idempotent: made twice, or again after a crash in its middle, it comes to the same end; it may return before the
    system is there, for it is believed only when `observe` says so. Either raises where it cannot do its work, and is
    then tried again. Several processes may call both at once, for other pins, too: the last pin wins in the end,
    because whoever converged looks at the pin again.
    """

    @property
    def artifacts(self) -> str:
        """The keys of the artifacts that it follows: a pattern as in a shell; `*` crosses a `/`."""

    @property
    def deadline_seconds(self) -> float:
        """How long it may take in all, retries included, before it is reported as failed."""

    def observe(self, key: str, timeout: float) -> str | None:
        """Return what the system runs now, by the pin's digest, uri, version or value; None where it has nothing."""

    def converge(self, key: str, pin: Artifact, timeout: float) -> None:
        """Make the system run what is pinned, in so many seconds at most."""


@runtime_checkable
class Interruptible(Protocol):
    """A reconciler that can give up what it is doing, so that nothing is left running."""

    def interrupt(self) -> None:
        """End what is being done now; from another thread."""
