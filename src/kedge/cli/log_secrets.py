"""Secrets in the log: entries that seem to hold a password, a token or a command line, for `kedge log --secrets`."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from kedge.cli.status_text import change_text
from kedge.cli.terminal import count, emit, one_line, say, table, utc_short
from kedge.face import Kedge
from kedge.model.secrets import find_kinds, redact, secrets_of_address
from kedge.ports.control import Entry
from kedge.turns.scope import scope_of

FOUND = 1
# Until now, an error of a shell reconciler was journaled with its command line.
_COMMAND_LINE = re.compile(r"CommandFailed: \[['\"].*\] (?:exited with|did not end within|printed bytes)", re.DOTALL)


class Finding(msgspec.Struct, frozen=True):
    """A log entry that seems to hold a secret: the `field` that holds it, and which kinds of secret."""

    seq: int
    change: str
    field: str
    kinds: list[str]


def print_secrets(k: Kedge, *, as_json: bool) -> int:
    """List the log entries that seem to hold a secret; return the exit code."""
    entries = k.log(k.seq)
    uris = {
        recorded.release.name: {key: artifact.uri or "" for key, artifact in recorded.release.artifacts.items()}
        for recorded in scope_of(k.view()).backend.control.recorded()
    }
    found = [finding for entry in entries for finding in _find(entry, uris)]
    if as_json:
        emit({"secrets": found, "entries": len(entries), "ok": not found})
        return FOUND if found else 0
    if not found:
        say(f"No secret found by pattern in {count(len(entries), 'entry', 'entries')}.")
        return 0
    at = {entry.seq: utc_short(entry.at) for entry in entries}
    table(
        ("change", "holds", "field", "UTC", "seq"),
        ([f.change, ", ".join(f.kinds), f.field, at[f.seq], str(f.seq)] for f in found),
        right=("seq",),
        importance=("change", "holds", "seq", "field", "UTC"),
    )
    say("A log entry never changes: rotate these secrets.", "bold")
    return FOUND


def _find(entry: Entry, uris: dict[str, dict[str, str]]) -> Iterator[Finding]:
    change = one_line(redact(change_text(entry)))
    if entry.kind == "stage":
        for key, uri in uris.get(entry.deployment or "", {}).items():
            if secrets_of_address(uri):
                yield Finding(entry.seq, change, f"uri of {key}", ["a password or token in an address"])
    for field, text in _texts(entry):
        kinds = ["a command line"] if _COMMAND_LINE.search(text) else []
        kinds += find_kinds(text)
        if kinds:
            yield Finding(entry.seq, change, field, kinds)


def _texts(entry: Entry) -> Iterable[tuple[str, str]]:
    yield "reason", entry.reason
    yield "by", entry.by
    yield from _leaves("", entry.detail)


def _leaves(place: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{place}.{key}".lstrip("."), inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(f"{place}[{number}]", inner)
