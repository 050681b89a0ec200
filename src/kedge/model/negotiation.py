"""Message schema negotiation, by the rules in the artifact `<agent>/speaks`."""

import hashlib
from collections import deque
from collections.abc import Collection
from enum import StrEnum
from typing import Any, Literal

import msgspec

from kedge.errors import InvalidValue
from kedge.model.declared_metrics import OWN
from kedge.model.writes import check_depth
from kedge.support.validation import plain_validation

SPEAKS = "speaks"  # the last part of the key of the artifact that holds the rules
MESSAGE = f"{OWN}message:"  # prefix of the metrics that count verdicts on messages
_DETERMINISTIC = msgspec.json.Encoder(order="deterministic")


class Verdict(StrEnum):
    """The decision on a message."""

    ACCEPT = "accept"
    TRANSLATE = "translate"
    SYNC = "sync"
    REFUSE = "refuse"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An agent's rule for one schema: the `version` that it sends and accepts, and what it does with others.

    `takes`: versions to translate from; None: all from which casters lead here. `stale`: what to do with a message
    whose sender saw, as it sent, what has been rolled back since, though it was not influenced by it.
    """

    version: int
    takes: tuple[int, ...] | None = None
    stale: Literal["sync", "accept", "refuse"] = "sync"


class Decision(msgspec.Struct, frozen=True):
    """A verdict and its reason; for a translation, the path of versions, both ends included."""

    verdict: Verdict
    why: str = ""
    path: tuple[int, ...] = ()


def read_rules(key: str, value: Any) -> dict[str, Rule]:
    """Return the rules in a `…/speaks` artifact: `{"case": 3}`, or `{"case": {"version": 3, "takes": [1, 2]}}`."""
    try:
        given = msgspec.convert(value, dict[str, int | Rule])
    except msgspec.ValidationError as error:
        raise InvalidValue(
            f'artifact {key!r} has no valid rules: {plain_validation(error)}; write {{"case": 3}}, or '
            '{"case": {"version": 3, "takes": [1, 2], "stale": "sync"}}'
        ) from None
    return {schema: Rule(rule) if isinstance(rule, int) else rule for schema, rule in given.items()}


def path(edges: Collection[tuple[int, int]], start: int, end: int) -> tuple[int, ...]:
    """Return the shortest path of casters between two versions, or (); of two, the one by lower versions."""
    ways: dict[int, tuple[int, ...]] = {start: (start,)}
    frontier = deque([start])
    while frontier and end not in ways:
        here = frontier.popleft()
        for following in sorted(to for at, to in edges if at == here and to not in ways):
            ways[following] = (*ways[here], following)
            frontier.append(following)
    return ways.get(end, ())


def decide(rule: Rule, sent: int, edges: Collection[tuple[int, int]], *, stale: str = "") -> Decision:
    """Decide on a message of a version; `stale` names what its sender saw and a rollback has hidden since."""
    if stale and rule.stale != "accept":
        why = f"its sender saw {stale}, rolled back since"
        return Decision(Verdict(rule.stale), why)
    if sent == rule.version:
        return Decision(Verdict.ACCEPT)
    if rule.takes is not None and sent not in rule.takes:
        return Decision(Verdict.REFUSE, f"version {sent} is not among those that it takes: {list(rule.takes)}")
    way = path(edges, sent, rule.version)
    if not way:
        return Decision(Verdict.REFUSE, f"no casters lead from version {sent} to {rule.version}")
    return Decision(Verdict.TRANSLATE, path=way)


def digest(schema: str, payload: object) -> str:
    """Return the digest that binds headers to a payload: SHA-256 over the schema and canonical JSON."""
    check_depth(payload, f"the message of schema {schema!r}")
    try:
        body = _DETERMINISTIC.encode([schema, payload])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"the message of schema {schema!r} is not JSON: {error}; send JSON values") from None
    return hashlib.sha256(body).hexdigest()
