"""Callbacks of the caller that must not abort a change that has begun."""

import logging
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")
_LOG = logging.getLogger("kedge")


def unfailing(callback: Callable[P, object] | None) -> Callable[P, None] | None:
    """Return a callback that logs the first exception of the given one and ignores the others.

    A rollback stopped by a failed `print` would leave features held and members unverified. Ctrl-C still passes.
    """
    if callback is None:
        return None
    has_failed = False

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal has_failed
        try:
            callback(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the caller's code may raise anything
            if not has_failed:
                has_failed = True
                log_failure("a callback failed, and the operation continues", error)

    return call


def log_failure(what: str, error: Exception) -> None:
    """Log a failure that its cause is not to hear of, as a warning of the logger `kedge`."""
    import logging  # noqa: PLC0415 - only failures need it

    logging.getLogger("kedge").warning("%s (%s: %s)", what, type(error).__name__, error)
