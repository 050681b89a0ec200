"""Tables of the results, for the terminal and for the documentation."""

from collections.abc import Iterable, Sequence

import msgspec
from rich.table import Table

from bench.peers.columns import LOADING, NOTHING, SEARCHING, Column, call_seconds, rollback_seconds, seconds
from bench.peers.document import Document
from bench.peers.findings import KEDGE, met, targets, wins
from bench.peers.outcome import Outcome
from bench.peers.prose import COMMAND, HOW, INTRODUCTION, REVERSAL


class Grid(msgspec.Struct, frozen=True):
    """A table of words."""

    title: str
    head: list[str]
    rows: list[list[str]]


def grids(document: Document) -> list[Grid]:
    """Return all tables."""
    found = []
    for stage in document.stages():
        outcomes = document.on(stage)
        for title, columns in (("search", SEARCHING), ("load, size and writes", LOADING)):
            found.append(_grid(f"{stage}: {title}", columns, outcomes))
    return [*found, reversal(document), snapshots(document)]


def _grid(title: str, columns: Sequence[Column], outcomes: Iterable[Outcome]) -> Grid:
    rows = []
    for one in outcomes:
        cells = [column.cell(one) for column in columns]
        if one.status != "ok" and all(cell == NOTHING for cell in cells):
            cells[0] = one.status
        rows.append([one.title, *cells])
    return Grid(title, ["", *(column.name for column in columns)], rows)


def reversal(document: Document) -> Grid:
    """Return the table of rollbacks: from the call to right reads, by size."""
    stages = document.stages()
    rows = []
    for peer in dict.fromkeys(outcome.peer for outcome in document.outcomes):
        ours = [document.of(stage, peer) for stage in stages]
        any_one = next(one for one in ours if one is not None)
        cells = [NOTHING if one is None else _reversal_cell(one) for one in ours]
        done = [one.undone for one in ours if one is not None and one.undone is not None]
        survived = f"{min(undone.survived for undone in done):.0%}" if done else NOTHING
        rows.append([any_one.title, *cells, survived, any_one.method])
    return Grid("from “roll back” to “reads are right”", ["", *stages, "others' writes kept", "how"], rows)


def _reversal_cell(one: Outcome) -> str:
    if one.undone is None:
        return NOTHING if one.status == "ok" else one.status
    cell = f"{seconds(rollback_seconds(one))} ({seconds(call_seconds(one))})"
    return f"{cell}, and wrong: {'; '.join(one.undone.wrong)}" if one.undone.wrong else cell


def snapshots(document: Document) -> Grid:
    """Return the table of going back to a snapshot instead."""
    rows = [
        [one.title, one.stage, seconds(one.rewound.taken), seconds(one.rewound.right), f"{one.rewound.lost:.0%}",
         one.rewound.how]
        for one in document.outcomes
        if one.rewound is not None
    ]  # fmt: skip
    head = ["", "rows", "snapshot taken in", "gone back in", "others' writes lost", "how"]
    return Grid("going back to a snapshot instead", head, rows)


def tables(document: Document) -> list[Table]:
    """Return the tables for a terminal, and the targets."""
    found = []
    reached = [[target.what, target.measured, met(target)] for target in targets(document)]
    for grid in [*grids(document), Grid("targets", ["what", "measured", "met?"], reached)]:
        drawn = Table(*grid.head, title=grid.title, title_justify="left")
        for row in grid.rows:
            drawn.add_row(*row)
        found.append(drawn)
    return found


# ── the page ──


def markdown(document: Document) -> str:
    """Return the page of the documentation."""
    kedge = [one for one in document.outcomes if one.peer == KEDGE]
    parts = [
        INTRODUCTION,
        f"```sh\n{COMMAND}\n```",
        _setting(document),
    ]
    missing = [f"{one.title} on {one.stage}: {one.status}" for one in document.outcomes if one.status != "ok"]
    if missing:
        parts.append("Not, or not wholly, measured: " + "; ".join(missing) + ".")
    if kedge:
        reached = (f"{target.what}: {target.measured} – {met(target)}" for target in targets(document))
        parts += ["## What was to be reached", _bullets(reached)]
    parts += ["## Rolling back", REVERSAL, _pipes(reversal(document)), *_verified(kedge)]
    if (rewound := snapshots(document)).rows:
        parts += ["Going back to a snapshot instead:", _pipes(rewound)]
    for stage in document.stages():
        outcomes = document.on(stage)
        parts.append(f"## {_heading(document, stage)}")
        parts += [_pipes(_grid("", columns, outcomes)) for columns in (SEARCHING, LOADING)]
    parts += ["## Where others are better", _bullets(wins(document)) or "Nowhere in this run."]
    indexes = dict.fromkeys(f"**{one.title}**: {one.index}." for one in document.outcomes)
    parts += ["## How it was measured", HOW, _bullets(indexes)]
    return "\n\n".join(parts) + "\n"


def _setting(document: Document) -> str:
    machine = document.machine
    versions = dict.fromkeys(f"{one.title} {one.version}" for one in document.outcomes if one.version)
    return (
        f"Measured on {machine.date}, in one run of {document.seconds / 60:.0f} minutes, on {machine.cpus} processors "
        f"({machine.cpu}) with {machine.memory_bytes / 2**30:.0f} GiB, Python {machine.python}, numpy {machine.numpy}: "
        f"{', '.join(versions)}."
    )


def _heading(document: Document, stage: str) -> str:
    embedders = {"minilm": "all-MiniLM-L6-v2", "lsa": "LSA"}
    embedder = embedders.get(document.embedder, document.embedder)
    return f"{stage[0].upper()}{stage[1:]}" + (f" ({embedder})" if stage.startswith("text") else " × 384")


def _verified(kedge: Iterable[Outcome]) -> Iterable[str]:
    said = [f"{seconds(one.undone_verified)} at {one.stage}" for one in kedge if one.undone_verified is not None]
    if said:
        yield f"With Kedge's own verification before it returns, the default of `k.rollback()`: {', '.join(said)}."


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _pipes(grid: Grid) -> str:
    lines = [grid.head, [" --- "] + [" ---: "] * (len(grid.head) - 1), *grid.rows]
    return "\n".join("| " + " | ".join(cell.strip() for cell in row) + " |" for row in lines)
