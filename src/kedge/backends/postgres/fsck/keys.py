"""Checks of lineages, states, heads and the states of vector rows, against all writes to their keys."""

from typing import Any

from kedge.backends.postgres.fsck.inspection import SQL, Inspection
from kedge.model.fsck import keys
from kedge.model.fsck.keys import Entry, Place
from kedge.model.states import from_text


def check_lineages(inspection: Inspection) -> None:
    """Check the table of lineages."""
    listed = dict(inspection.link.rows(SQL["lineage_members"]))
    keys.check_lineages(inspection, inspection.link.rows(SQL["lineages"]), listed)
    keys.check_seen_sets(inspection, inspection.link.rows(SQL["seen_sets"]))


def check_states(inspection: Inspection) -> None:
    """Check the table of states: a lineage, and the minimal set of lineages that supersede it."""
    for ident, lineage, text in inspection.link.rows(SQL["states"]):
        where = f"state {ident}"
        inspection.count("states")
        superseders = from_text(text)
        inspection.states[ident] = (lineage, superseders)
        if not inspection.lineages.keys() >= {lineage, *(superseders or ())}:
            inspection.report("state", where, "names a lineage that is not in the lineage table")


def check_keys(inspection: Inspection) -> None:
    """Check the heads at every key, and the states of its vector rows, by brute force over its writes."""
    done: set[Place] = set()
    for window in inspection.windows():
        places = [key for key in inspection.link.rows(SQL["keys"], *window) if key not in done]
        done.update(places)
        columns = ([space for space, _ in places], [name for _, name in places])
        writes = _by_key(inspection.link.rows(SQL["writes_of_keys"], *columns))
        heads = _by_key(inspection.link.rows(SQL["heads_of_keys"], *columns))
        rows = _by_key(inspection.link.rows(SQL["rows_of_keys"], *columns))
        for key in writes:
            entries = [Entry(*write) for write in writes[key]]
            keys.check_heads(inspection, key, entries, heads.get(key, []))
            _check_rows(inspection, key, entries, rows.get(key, []))
            inspection.count("keys")
        inspection.advance(*window)


def _by_key(rows: list[Any]) -> dict[Place, list[Any]]:
    found: dict[Place, list[Any]] = {}
    for space, name, *rest in rows:
        found.setdefault((space, name), []).append(rest)
    return found


def _check_rows(inspection: Inspection, key: Place, entries: list[Entry], rows: list[Any]) -> None:
    for lineage, rank, seq, _, _, state in rows:
        where = inspection.place(*key, seq)
        inspection.count("vector rows")
        own = Entry(lineage, rank, seq, deleted=False)
        keys.check_state(inspection, "state", where, state, own, entries)
