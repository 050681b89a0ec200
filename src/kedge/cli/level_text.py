"""Text of level entries, requests and their changes, for people."""

from collections.abc import Iterable
from typing import Any

import msgspec

from kedge.cli.terminal import ago, listing, one_line, say
from kedge.model.durations import duration
from kedge.model.ladder import LevelEntry, LevelSource
from kedge.model.requests import LevelRequest
from kedge.ports.control import Entry
from kedge.reports.status import SystemStatus

LEVEL_KINDS = frozenset(
    {"level", "tighten", "loosen", "expire", "presets", "two-persons", "approve", "deny"}
)  # of the log  # fmt: skip


def print_levels(found: SystemStatus) -> None:
    """Print what is degraded and why, how to lift it, and what waits for a person."""
    for entry in found.entries:
        how = (
            f"stop --release {one_line(str(entry.scope))}"
            if entry.source is LevelSource.FILE
            else f"ladder loosen {one_line(entry.id)}"
        )
        lift = f"; to lift it: kedge {how}"
        say(f"Degraded: {entry_text(entry, found.at)}{lift}", "bold yellow")
    if not found.entries:
        say("Levels: every feature is full")
    for request in found.requests:
        decide = f"; kedge ladder approve {request.id}" if request.status == "pending" else ""
        say(f"Request: {request_text(request, found.at)}{decide}", "yellow")


def entry_text(entry: LevelEntry, now: float) -> str:
    """Return an entry as one sentence: what is degraded, by whom and why, since when and until when."""
    scope = entry.scope.name if entry.scope.kind == "feature" else str(entry.scope)
    by = "" if not entry.by else f" by {one_line(entry.by)}"
    source = "" if entry.source == "person" else f" ({entry.source})"
    since = "" if not entry.since else f" {ago(entry.since, now)}"
    reason = f': "{one_line(entry.reason)}"' if entry.reason else ""
    return f"{one_line(scope)} is {entry.level}{_set(by, source, since)}{until_text(entry, now)}{reason}"


def _set(by: str, source: str, since: str) -> str:
    return f", set{by}{source}{since}" if by or source or since else ""


def until_text(entry: LevelEntry, now: float) -> str:
    """Return when an entry expires, as the end of a sentence."""
    if entry.expires is None:
        return ""
    left = entry.expires - now
    return f", for another {duration(left)}" if left > 0 else ", expired (`kedge recover` lifts it)"


def request_text(request: LevelRequest, now: float) -> str:
    """Return a request as one sentence."""
    said = f': "{one_line(request.reason)}"' if request.reason else ""
    state = f"approved by {request.decided_by}, not used yet" if request.status == "approved" else "waits"
    return f"{one_line(request.what, 200)} (asked by {one_line(request.by)} {ago(request.since, now)}, {state}){said}"


def entry_document(entry: LevelEntry) -> dict[str, Any]:
    """Return an entry for `--json`, with the text form of its scope."""
    return msgspec.to_builtins(entry) | {"scope": str(entry.scope)}  # type: ignore[no-any-return]


def request_document(request: LevelRequest) -> dict[str, Any]:
    """Return a request for `--json`, with what it asks for in words."""
    entry = None if request.entry is None else entry_document(request.entry)
    return msgspec.to_builtins(request) | {"entry": entry, "what": request.what}  # type: ignore[no-any-return]


def change_of_level(entry: Entry) -> str:
    """Return what an entry of the log changed about levels, such as "tighten feature:support to off (L7)"."""
    detail = entry.detail
    if entry.kind == "level":
        return f"level {detail.get('feature')}: {detail.get('level')}"
    if entry.kind == "expire":
        return f"expire {listing(_entries(detail.get('entries', ())), 3)}"
    if entry.kind == "tighten":
        return f"tighten {detail['scope']} to {detail['level']} ({detail['entry']})"
    if entry.kind == "loosen":
        glass = "BREAK GLASS: " if detail.get("break_glass") else ""
        approved = f", approved by {detail['approved_by']}" if detail.get("approved_by") else ""
        return (
            f"{glass}loosen {detail['scope']} from {detail['level']} to {detail['left']} ({detail['entry']}){approved}"
        )
    if entry.kind == "presets":
        return f"presets of {listing(detail['presets'], 6)}" if detail.get("presets") else "presets by default"
    if entry.kind == "two-persons":
        return f"two persons {'required' if detail.get('required') else 'required no longer'}"
    return f"{entry.kind} request {detail.get('request')}"


def _entries(told: Iterable[dict[str, str]]) -> list[str]:
    return [f"{one['scope']} at {one['level']} ({one['entry']})" for one in told]
