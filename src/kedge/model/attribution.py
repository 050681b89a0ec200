"""Attribution: how a deployment influences turns, who owns artifacts, and agents' names that have a slip."""

import difflib
from collections.abc import Collection, Iterable
from typing import Final, Literal

from kedge.errors import InvalidValue, nearest

Attribution = Literal["reads", "view"]
READS: Final = "reads"
VIEW: Final = "view"
SHARED = "shared"
LOADER, BACKFILLER = "loader", "backfill"
OWN_AGENTS = frozenset({LOADER, BACKFILLER, SHARED})  # names that Kedge gives its own loads and backfills
_ALIKE = 0.8  # the share of characters that two names have in common
_SHORT = 4  # shorter names are alike only where they differ in case or punctuation alone


def check_attribution(name: str, attribution: object, artifacts: Collection[str]) -> Attribution:
    """Return a valid attribution of a deployment with these artifacts, or raise `InvalidValue`."""
    if attribution not in (READS, VIEW):
        raise InvalidValue(f"invalid attribution {attribution!r} of {name!r}: must be {READS!r} or {VIEW!r}")
    if attribution == VIEW and not artifacts:
        raise InvalidValue(
            f"{name!r} has attribution={VIEW!r} and no artifact that its turns could have read: "
            "a code release pins <agent>/code or shared/code"
        )
    return attribution


def owners_of(artifacts: Iterable[str]) -> set[str]:
    """Return the agents that own these artifacts: of "a/b/c" both "a" and "a/b"."""
    found: set[str] = set()
    for name in artifacts:
        parts = name.split("/")[:-1]
        found.update("/".join(parts[:end]) for end in range(1, len(parts) + 1))
    return found - {SHARED}


def resembling(agent: str, known: Iterable[str]) -> str | None:
    """Return the known name that this one is a slip of, or None.

    Names that differ only in their digits, such as worker-1 and worker-2, are not slips of each other.
    """
    plain = _plain(agent)
    others = {_plain(name): name for name in sorted(known, reverse=True) if name != agent}
    if plain in others:
        return others[plain]
    if len(plain) < _SHORT:
        return None
    letters = _letters(plain)
    alike = [other for other in others if len(other) >= _SHORT and _letters(other) != letters]
    found = difflib.get_close_matches(plain, alike, n=1, cutoff=_ALIKE)
    return others[found[0]] if found else None


def warnings_of(artifacts: Iterable[str], agents: Iterable[str], known_artifacts: Iterable[str]) -> tuple[str, ...]:
    """Return warnings about a manifest's keys: those without an agent, and agents that nothing is known of.

    `agents` have had turns. In a database without agents and artifacts, every agent is new, and none is warned about.
    """
    keys = sorted(artifacts)
    known = set(agents) | owners_of(known_artifacts)
    found = [
        f"{key} belongs to no agent, so only turns that read it are influenced; name it <agent>/{key} or shared/{key}"
        for key in keys
        if "/" not in key
    ]
    strangers = {key.rpartition("/")[0] for key in keys if "/" in key and owners_of([key]).isdisjoint(known)}
    if known:
        found += [
            f"nothing is known of the agent {agent!r}: it has had no turn and no artifact{nearest(agent, known)}; "
            "check that its turns begin with this name"
            for agent in sorted(strangers - {SHARED})
            if not agent.startswith(f"{SHARED}/")
        ]
    return tuple(found)


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _letters(plain: str) -> str:
    return "".join(c for c in plain if not c.isdigit())
