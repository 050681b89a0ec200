"""Reconciler port: external systems that follow artifacts, such as model servers, registries and caches."""

from typing import Protocol, runtime_checkable

from kedge.model.artifacts import Artifact


class Reconciler(Protocol):
    """One external system, which converges to the pins at the heads of its artifacts.

    Laws: `observe` asks the system itself, never a record of past commands, and changes nothing. `converge` is
    idempotent, also after a crash in its middle. It may return before the system has converged: only `observe`
    confirms that. Both raise on failure, and are then retried. Several processes may call both concurrently, also for
    different pins: the last pin wins, because each reads the pin again after it has converged.
    """

    @property
    def artifacts(self) -> str:
        """The keys of its artifacts: a shell pattern in which `*` also matches `/`."""

    @property
    def deadline_seconds(self) -> float:
        """The total time, retries included, after which it is reported as failed."""

    def observe(self, key: str, timeout: float) -> str | None:
        """Return what the system runs now, by the pin's digest, uri, version or value; None for nothing."""

    def converge(self, key: str, pin: Artifact, timeout: float) -> None:
        """Make the system run the pin, within `timeout` seconds."""


@runtime_checkable
class Interruptible(Protocol):
    """A reconciler that can be interrupted, so that nothing is left running."""

    def interrupt(self) -> None:
        """Stop the current call, from another thread."""
