"""Command show: print one key, a range of keys or a session's memory, in any view."""

import base64
import time
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from kedge.cli import database
from kedge.cli.app import INSPECT, app
from kedge.cli.options import Db, InDeployment, Json, OfSession
from kedge.cli.parsing import POINT_HELP, new_session_view, view_at
from kedge.cli.terminal import (
    SETTLED_ONLY,
    ago,
    count,
    emit,
    indented,
    listing,
    one_line,
    say,
    say_whole,
    table,
    utc_short,
    when,
    whisper,
)
from kedge.errors import InvalidValue, UnknownName, nearest
from kedge.face import Kedge
from kedge.model.artifacts import Artifact, from_fields
from kedge.model.durations import duration
from kedge.model.stores import USERS, check_store, is_keyed_store
from kedge.model.writes import SHARED_MEMORY, Head, Origin
from kedge.ports.vectors import Floats
from kedge.stores.keyed import Entry, KeyedView
from kedge.stores.memory import MemoryView, Message
from kedge.stores.vectors import VectorRow
from kedge.turns.scope import scope_of
from kedge.turns.view import ReadView

_NEAR = 500
_PRINTED_BYTES = 1 << 20


class _Wanted(msgspec.Struct, frozen=True):
    """What to show: a store, a space and a key. An empty key means all keys; a key ending in / is a prefix."""

    store: str
    space: str
    key: str

    @property
    def is_range(self) -> bool:
        return not self.key or self.key.endswith("/")


@app.command(rich_help_panel=INSPECT)
def show(
    store: Annotated[
        str, typer.Argument(metavar="STORE", help="artifacts, context, documents, vectors, memory, or store:NAME.")
    ],
    where: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY]",
            help="Key, or prefix ending in /; COLLECTION [ID]; for memory, a session; for store:NAME, SPACE [KEY].",
        ),
    ] = None,
    *,
    at: Annotated[str | None, typer.Option("--at", metavar="POINT", help=POINT_HELP)] = None,
    session: OfSession = None,
    deployment: InDeployment = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Maximum number of keys or messages.")] = 50,
    tombstones: Annotated[bool, typer.Option("--tombstones", help="Also show retracted messages.")] = False,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Show a key, the keys below a prefix, or a session's memory.

    For example: kedge show context case/42; kedge show documents kb doc-1; kedge show memory s-17 --at 2h;
    kedge show store:checkpoints thread-1. Default view: what a new session sees.
    """
    with database.for_reading(db) as k:
        if store == "memory":
            _memory(
                k, [*(where or []), *([session] if session else [])], at, limit, tombstones=tombstones, as_json=as_json
            )
            return
        wanted = _wanted(k, store, where or [])
        every = session is None and deployment is None
        view = new_session_view(k, at) if every else view_at(k, at, session, deployment)
        known = _is_known(k, session)
        about = {"session": session, "deployment": deployment, "upto": view.upto, "seen": sorted(view.seen)}
        if not known:
            about |= {"session_known": False}
            whisper(f"{one_line(session)} has had no turn yet. If it started now, it would see this.", "yellow")
        if wanted.store == "vectors":
            found, total = _vectors(view, wanted, limit)
        else:
            found, total = _keyed(view, wanted, limit)
        if as_json:
            place = {"store": wanted.store, "space": wanted.space}
            entries = [row.document(whole=not wanted.is_range) for row in found]
            emit({"view": about, **place, "entries": entries, "total": total})
        elif wanted.is_range:
            _print_range(wanted, found, total)
        else:
            _print_one(k, wanted, found[0], view)


def _wanted(k: Kedge, store: str, where: list[str]) -> _Wanted:
    check_store(store)
    if store in {"artifacts", "context"}:
        if len(where) > 1:
            raise InvalidValue(f"too many arguments for {store}: {' '.join(where)!r}; give one key")
        return _Wanted(store, "", where[0] if where else "")
    known, what = _spaces(k, store), "space" if is_keyed_store(store) else "collection"
    if not where:
        named = listing([name or '""' for name in known], 20) or "none yet"
        raise InvalidValue(f"no {what} given; {what}s of {store}: {named}")
    space, *rest = where
    if not rest and space not in known and "/" in space:
        space, _, key = space.partition("/")
        rest = [key]
    if space not in known:
        raise UnknownName(f"no {what} {space!r} in {store}{nearest(space, known)}")
    if len(rest) > 1:
        form = f"{store} {what.upper()} {'KEY' if is_keyed_store(store) else 'ID'}"
        raise InvalidValue(f"too many arguments for {store}: {' '.join(where)!r}; write {form}")
    return _Wanted(store, space, rest[0] if rest else "")


def _is_known(k: Kedge, session: str | None) -> bool:
    return session is None or scope_of(k.view()).backend.control.session(session) is not None


def _spaces(k: Kedge, store: str) -> list[str]:
    if store == "vectors":
        return [collection.name for collection in k.collections()]
    return sorted(scope_of(k.view()).backend.journal.spaces(store))


# ── reading ──


class _Row(msgspec.Struct, frozen=True):
    """One key to print."""

    key: str
    value: Any
    seq: int
    lineage: tuple[str, ...]
    at: float
    origin: str
    stale: bool = False
    fresh_for: float | None = None
    artifact: Artifact | None = None
    vector: Floats | None = None

    def document(self, *, whole: bool) -> dict[str, Any]:
        """Return the row as JSON; with `whole`, include the vector, not only its norm."""
        fields = ("key", "value", "seq", "lineage", "at", "origin", "stale", "fresh_for")
        found = {field: getattr(self, field) for field in fields}
        if isinstance(self.value, bytes):
            found["value"] = {"bytes": base64.b64encode(self.value).decode()}
        if self.artifact is not None:
            found |= {field: getattr(self.artifact, field) for field in ("kind", "version", "uri", "digest")}
        if self.vector is not None:
            found |= {"norm": self.norm, **({"vector": self.vector.tolist()} if whole else {})}
        return found

    @property
    def norm(self) -> float:
        return 0.0 if self.vector is None else float(np.linalg.norm(self.vector))


def _keyed(view: ReadView, wanted: _Wanted, limit: int) -> tuple[list[_Row], int]:
    kept: KeyedView
    if wanted.store == "artifacts":
        kept = view.artifacts
    elif is_keyed_store(wanted.store):
        kept = view.store(wanted.store.removeprefix(USERS)).space(wanted.space)
    else:
        kept = view.context if wanted.store == "context" else view.documents(wanted.space)
    if wanted.is_range:
        entries = kept.entries(wanted.key, limit=limit)
        total = kept.count(wanted.key) if len(entries) == limit else len(entries)
        return [_row(wanted.store, entry) for entry in entries], total
    entry = kept.entry(wanted.key)
    if entry is None:
        folder = wanted.key.rpartition("/")[0]
        near = kept.keys(f"{folder}/" if folder else "", limit=_NEAR)
        raise UnknownName(f"{_place(wanted)} does not exist in this view{nearest(wanted.key, near)}")
    return [_row(wanted.store, entry)], 1


def _row(store: str, entry: Entry) -> _Row:
    artifact = from_fields(entry.value) if store == "artifacts" else None
    return _Row(
        key=entry.key,
        value=entry.value if artifact is None else artifact.value,
        seq=entry.seq,
        lineage=tuple(sorted(entry.lineage)),
        at=entry.at,
        origin=str(entry.origin),
        stale=entry.stale,
        fresh_for=entry.fresh_for,
        artifact=artifact,
    )


def _vectors(view: ReadView, wanted: _Wanted, limit: int) -> tuple[list[_Row], int]:
    kept = view.vectors(wanted.space)
    ids = kept.ids()
    found = [ident for ident in ids if ident.startswith(wanted.key)] if wanted.is_range else [wanted.key]
    rows = kept.get(found[:limit])
    if not rows and not wanted.is_range:
        raise UnknownName(f"{_place(wanted)} does not exist in this view{nearest(wanted.key, ids[:_NEAR])}")
    scope = scope_of(view)
    heads = scope.read(lambda v: scope.backend.journal.heads(v, "vectors", wanted.space, list(rows)))
    return [_vector_row(view, row, heads.get(row.id)) for row in rows.values()], len(found)


def _vector_row(view: ReadView, row: VectorRow, head: Head | None) -> _Row:
    known = head is not None and head.seq == row.seq
    return _Row(
        key=row.id,
        value=row.payload,
        seq=row.seq,
        lineage=tuple(sorted(scope_of(view).names(head.lineage))) if known and head is not None else (),
        at=head.at if known and head is not None else 0.0,
        origin=str(Origin.SOURCE if head is not None and head.source else Origin.DERIVED),
        vector=row.vector,
    )


# ── output ──


def _place(wanted: _Wanted) -> str:
    return " ".join(part for part in (wanted.store, wanted.space, wanted.key) if part)


def _print_range(wanted: _Wanted, rows: list[_Row], total: int) -> None:
    now = time.time()
    if not rows:
        say(f"{_place(wanted)}: no keys in this view")
        return
    table(
        ("key", "value", "lineage", "UTC", "ago", "seq"),
        (
            (
                row.key,
                _short(row),
                listing(row.lineage, 3),
                utc_short(row.at),
                ago(row.at, now).removesuffix(" ago") + (" STALE" if row.stale else ""),
                str(row.seq),
            )
            for row in rows
        ),
        right=("seq", "ago"),
        importance=("key", "value", "lineage", "ago", "seq", "UTC"),
    )
    if total > len(rows):
        say(f"First {len(rows):,} of {total:,}; more with --limit.", "dim")


def _short(row: _Row) -> str:
    uri = None if row.artifact is None else row.artifact.uri
    return one_line(uri if row.value is None and uri is not None else row.value, 40)


def _print_one(k: Kedge, wanted: _Wanted, row: _Row, view: ReadView) -> None:
    say(_place(wanted), "bold")
    if row.artifact is not None:
        for field in ("kind", "version", "uri", "digest"):
            if getattr(row.artifact, field):
                say_whole(f"  {field:<9}{getattr(row.artifact, field)}")
    say(f"  written  {when(row.at, time.time())}, {row.origin}, seq {row.seq}")
    statuses = {deployed.name: deployed.status for deployed in k.deployments()}
    causes = [f"{name} ({statuses.get(name, 'unknown')})" for name in row.lineage]
    say(f"  lineage  {listing(causes, 20) if causes else 'none: not influenced by any deployment'}")
    if row.vector is not None:
        say(f"  vector   {count(len(row.vector), 'dimension')}, norm {row.norm:.6g}")
    if row.fresh_for is not None:
        verdict = "STALE: expired" if row.stale else "still fresh"
        say(f"  fresh    for {duration(row.fresh_for)}: {verdict}", "yellow" if row.stale else None)
    seen = listing(sorted(view.seen), 20)
    upto = "" if view.upto is None else f", up to seq {view.upto}"
    say(f"  view     sees {seen or SETTLED_ONLY}{upto}", "dim")
    if isinstance(row.value, bytes):
        say(f"{len(row.value):,} bytes; use --json to print them")
    elif row.value is not None:
        text = row.value if isinstance(row.value, str) else indented(row.value).decode()
        if len(text) > _PRINTED_BYTES:
            say(f"{len(text):,} characters; use --json to print them")
        else:
            say_whole(text)


# ── memory ──


def _memory(k: Kedge, sessions: list[str], at: str | None, limit: int, *, tombstones: bool, as_json: bool) -> None:
    known = sorted(scope_of(k.view()).backend.journal.spaces("memory"))
    if len(sessions) != 1:
        raise InvalidValue(
            "no single session given; write kedge show memory SESSION; what turns without a session once wrote is "
            'shown by kedge show memory ""'
        )
    session = sessions[0]
    if session not in known:
        raise UnknownName(f"no memory of session {session!r}{nearest(session, known)}")
    shared = session == SHARED_MEMORY  # messages from before memory needed a session
    view = view_at(k, at, None if shared else session)
    memory = MemoryView(scope_of(view), space=SHARED_MEMORY) if shared else view.memory
    messages = memory.history(limit, tombstones=tombstones)
    about = {"session": session, "deployment": None, "upto": view.upto, "seen": sorted(view.seen)}
    if as_json:
        emit({"view": about, "store": "memory", "space": session, "messages": messages})
        return
    now, owners = time.time(), {d.name: d.artifacts for d in k.deployments()}
    for message in messages:
        content = "(retracted)" if message.retracted else one_line(message.content, 100_000)
        say(f"{message.seq:>8}  {message.role}: {content}", "dim" if message.retracted else None)
        if message.at is not None:
            say(f"{'':>8}  {_author(message, owners)}{when(message.at, now)}", "dim")
    if not messages:
        say(f"No messages of {one_line(session)} in this view.")
    elif sum(not message.retracted for message in messages) == limit:
        say(f"Newest {limit} messages; more with --limit.", "dim")


def _author(message: Message, owners: dict[str, tuple[str, ...]]) -> str:
    """Return the agent of a message, the deployments that made the agent what it is, and what else influenced it."""
    if message.agent is None:
        return ""
    own = [
        name
        for name in sorted(message.lineage)
        if any(key.startswith(f"{message.agent}/") for key in owners.get(name, ()))
    ]
    others = sorted(message.lineage.difference(own))
    said = f"{one_line(message.agent)}" + (f" of {listing(own)}" if own else "")
    return said + (f", influenced by {listing(others)}" if others else "") + ", "
