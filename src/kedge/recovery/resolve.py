"""Whether the artifacts that a rollback brings back can still be had: looked up in parallel, for a limited time."""

import threading
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase

from kedge.errors import InvalidValue
from kedge.model.artifacts import Artifact
from kedge.model.secrets import redact
from kedge.ports.resolver import Resolver
from kedge.turns.kernel import Kernel

RESOLVE_SECONDS = 5.0
THERE, GONE = "there", "gone"
NOT_LOOKED_AT = "not looked at"


def resolve(kernel: Kernel, pins: Mapping[str, Artifact], seconds: float = RESOLVE_SECONDS) -> dict[str, str]:
    """Return by artifact key "there", "gone", or "not looked at: why", for pins that lie outside the database."""
    outside = {key: pin for key, pin in pins.items() if pin.uri}
    found: dict[str, str] = {}
    threads = []
    until = time.monotonic() + seconds
    for key, pin in outside.items():
        resolver = next((r for r in kernel.resolvers.values() if fnmatchcase(pin.uri or "", r.uris)), None)
        if resolver is None:
            found[key] = f"{NOT_LOOKED_AT}: no resolver is configured for its URI"
            continue
        arguments = (found, resolver, key, pin, seconds)
        thread = threading.Thread(target=_look, args=arguments, name="kedge-resolve", daemon=True)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    late = f"{NOT_LOOKED_AT}: no answer within {seconds:g} s"
    return {key: dict(found).get(key, late) for key in outside}


def _look(found: dict[str, str], resolver: Resolver, key: str, pin: Artifact, seconds: float) -> None:
    try:
        found[key] = THERE if resolver.resolve(key, pin, seconds) else GONE
    except Exception as error:  # noqa: BLE001 - a resolver may raise anything: a plan says so, and goes on
        if isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError):
            return  # as one that has not answered yet
        why = str(error) if isinstance(error, OSError) and not error.filename else type(error).__name__
        found[key] = f"{NOT_LOOKED_AT}: {redact(why)}"


def checked_resolvers(resolvers: object) -> dict[str, Resolver]:
    """Return resolvers by name, or raise `InvalidValue` for what lacks their attributes."""
    if resolvers is None:
        return {}
    if not isinstance(resolvers, Mapping):
        raise InvalidValue(f"invalid resolvers {resolvers!r:.80}: must be a mapping of names to resolvers")
    for name, resolver in resolvers.items():
        lacking = [each for each in ("uris", "resolve") if not hasattr(resolver, each)]
        if lacking:
            raise InvalidValue(
                f"invalid resolver {name!r} ({type(resolver).__name__}): it lacks {' and '.join(lacking)}; "
                "give an object with uris and resolve(key, pin, timeout)"
            )
    return dict(resolvers)


__all__ = ["GONE", "NOT_LOOKED_AT", "THERE", "checked_resolvers", "resolve"]
