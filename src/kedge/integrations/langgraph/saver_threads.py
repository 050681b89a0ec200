"""Lists, copies and deletions of threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context
from typing import Any

from langgraph.checkpoint.base.id import uuid6

import kedge
from kedge.integrations.langgraph import saver_rows as rows
from kedge.integrations.langgraph import saver_turns as turns
from kedge.integrations.langgraph.saver_rows import Row

Listed = list[Any]  # in a class with a method `list`, that name is taken
PAGE = 100  # checkpoints that `list` reads at once
_UUID_CHARACTERS = 36
GROWING = "counters_since_delta_snapshot"  # of metadata: values that are rebuilt from the checkpoints before


class Threads:
    """The threads of one store in a database, for a checkpointer."""

    def __init__(self, k: kedge.Kedge, store: str, agent: str) -> None:
        self.k, self.store, self.agent = k, store, agent

    def reader(self, thread: str) -> Any:
        """Return the space of a thread: in the turn of this context, or else as its next invocation would see it."""
        session, turn = kedge.escape_name(thread), kedge.current_turn(ended=True)
        owner = turn if turn is not None else Context().run(lambda: self.k.view(session=session))
        return owner.store(self.store).space(session)

    def names(self) -> Iterator[str]:
        """Return all threads."""
        page = self.k.sessions()
        while page:
            yield from (kedge.unescape_name(each.session) for each in page)
            page = self.k.sessions(after=page[-1].session)

    def rows(self, space: Any, ns: str | None, *, before: str | None = None, page: int = PAGE) -> Iterator[list[Row]]:
        """Return the checkpoints of a namespace (or of all), the newest first, in pages."""
        prefix, deleted = rows.checkpoints(ns), space.get(rows.DELETED, "")
        after = None if before is None or ns is None else rows.checkpoint(ns, before)
        while True:
            found = space.items(prefix, after=after, limit=page, reverse=True)
            kept = [row for row in map(rows.unpack_row, found.values()) if row.ident > deleted]
            yield [row for row in kept if before is None or row.ident < before]
            if len(found) < page:
                return
            after = next(reversed(found))

    def listed(
        self,
        thread: str,
        ns: str | None,
        build: Callable[[Any, list[Row], bool], Listed],
        *,
        matches: Callable[[Any], bool],
        before: str | None,
        limit: int | None,
    ) -> list[Any]:
        """Return the checkpoints of a thread that match, at most so many; `build` makes what the host wants."""
        if limit is not None and limit <= 0:
            return []
        space, found = self.reader(thread), []
        is_first = before is None
        for page in self.rows(space, ns, before=before, page=min(limit or PAGE, PAGE)):
            found += [each for each in build(space, page, is_first) if matches(each)] if page else []
            is_first = False
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def bound(self, thread: str, ns: str, invocation: str) -> str:
        """Return the place of the last visible checkpoint of an invocation in a namespace; else one just before it.

        It is read from outside any turn: it only orders what is there.
        """
        return Context().run(self._bound, thread, ns, invocation)

    def _bound(self, thread: str, ns: str, invocation: str) -> str:
        session = kedge.escape_name(thread)
        space = self.k.view(session=session).store(self.store).space(session)
        prefix, first, bound = rows.checkpoints(ns), rows.checkpoint(ns, invocation), rows.before(invocation)
        after = first[:-1]
        while page := space.items(prefix, after=after, limit=PAGE):
            for name, packed in page.items():
                if name < first:
                    continue
                if rows.unpack_row(packed).invocation != invocation:
                    return bound
                bound = kedge.unescape_name(name.removeprefix(prefix))
            after = next(reversed(page))
        return bound

    def change(self, thread: str, call: Callable[[kedge.Turn, Any], None]) -> None:
        """Change a thread in the turn of this context, or in one of its session."""
        session, turn = kedge.escape_name(thread), kedge.current_turn(ended=True)
        if turn is None:
            turn = turns.begin(self.k, self.agent, session=session)
        call(turn, turn.store(self.store).space(session))

    def delete(self, thread: str) -> None:
        """Delete a thread: what was saved, in any version, and what its users said. A rollback does not undo it."""

        def erase(turn: kedge.Turn, space: Any) -> None:
            names = space.keys()
            idents = [name.rsplit("/", 1)[1] for name in names if name.startswith(rows.checkpoints(None))]
            newest, now = max(idents, default=""), str(uuid6())
            upto = max(newest, now) if len(newest) in {0, _UUID_CHARACTERS} else newest
            with turn.batch():
                space.delete_many([name for name in names if name != rows.DELETED], origin="source")
                space.put(rows.DELETED, upto, origin="source")
                if turn.session == kedge.escape_name(thread):
                    turn.memory.clear(origin="source")

        self.change(thread, erase)

    def delete_runs(self, thread: str, found: Sequence[tuple[str, str]]) -> None:
        """Delete checkpoints of a thread, given as namespace and id, with their pending writes."""

        def erase(_: kedge.Turn, space: Any) -> None:
            names = [name for ns, ident in found for name in _names_of(space, ns, ident)]
            space.delete_many(names, origin="source")

        self.change(thread, erase)

    def prune(self, thread: str, metadata_of: Callable[[Row], Mapping[str, Any]]) -> None:
        """Delete all but the newest checkpoint of each namespace, and what it is rebuilt from.

        What a version pruned comes back when that version is rolled back.
        """

        def erase(_: kedge.Turn, space: Any) -> None:
            found = {row.ns + "\0" + row.ident: row for page in self.rows(space, None) for row in page}
            kept: dict[str, Row] = {}
            heads: set[str] = set()
            for row in found.values():  # the newest of each namespace first
                if row.ns in heads:
                    continue
                heads.add(row.ns)
                each: Row | None = row
                while each is not None:
                    kept[each.ns + "\0" + each.ident] = each
                    grows = metadata_of(each).get(GROWING)
                    each = found.get(f"{each.ns}\0{each.parent}") if grows else None
            wanted = {rows.DELETED, *rows.needed(kept.values())}
            wanted |= {name for row in kept.values() for name in _names_of(space, row.ns, row.ident)}
            space.delete_many([name for name in space.keys() if name not in wanted])  # noqa: SIM118 - no dict

        self.change(thread, erase)


def _names_of(space: Any, ns: str, ident: str) -> list[str]:
    """Return the names of a checkpoint, of its place if a replay made it, and of its pending writes."""
    place = space.get(rows.replayed(ns, ident))
    own = [rows.checkpoint(ns, place or ident), *([] if place is None else [rows.replayed(ns, ident)])]
    return [*own, *space.keys(rows.writes_of(ns, ident))]
