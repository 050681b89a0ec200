"""Tables of the results, for the terminal and for the documentation."""

import textwrap
from collections.abc import Iterable, Sequence
from math import ceil

import msgspec
from rich.table import Table

from bench.peers.columns import LOADING, NOTHING, SEARCHING, Column, call_seconds, rollback_seconds, seconds
from bench.peers.document import Document
from bench.peers.findings import KEDGE, met, targets, wins
from bench.peers.outcome import Outcome
from bench.peers.prose import COMMAND, HOW, INTRODUCTION, KEPT, REVERSAL, SNAPSHOT, SPEEDUP

_WIDTH = 100  # characters in a line of the page
_COLUMNS = 5  # in a table of the page


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
        parts += ["Not measured, or not completely (“stopped” in the tables):", _bullets(missing)]
    if kedge:
        reached = Grid("", ["target", "measured", "met"], [[t.what, t.measured, met(t)] for t in targets(document)])
        parts += ["## Targets", SPEEDUP, _pipes(reached)]
    parts += ["## Rolling back", REVERSAL, _pipes(_times(document)), *_verified(kedge), KEPT, _methods(document)]
    if any(one.rewound is not None for one in document.outcomes):
        parts += [SNAPSHOT, _pipes(_rewound(document)), _ways(document)]
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
    setting = (
        f"Measured on {machine.date}, in one run of {document.seconds / 60:.0f} minutes, on {machine.cpus} processors "
        f"({machine.cpu}) with {machine.memory_bytes / 2**30:.0f} GiB, Python {machine.python}, numpy {machine.numpy}."
    )
    return _filled(setting) + "\n\n" + _filled(f"Versions: {', '.join(versions)}.")


def _heading(document: Document, stage: str) -> str:
    embedders = {"minilm": "all-MiniLM-L6-v2", "lsa": "LSA"}
    embedder = embedders.get(document.embedder, document.embedder)
    return f"{stage[0].upper()}{stage[1:]}" + (f" ({embedder})" if stage.startswith("text") else " × 384")


def _times(document: Document) -> Grid:
    grid = reversal(document)
    return Grid("", grid.head[:-2], [row[:-2] for row in grid.rows])


def _methods(document: Document) -> str:
    return _bullets(f"**{title}** ({kept} kept): {how}." for title, *_, kept, how in reversal(document).rows)


def _rewound(document: Document) -> Grid:
    grid = snapshots(document)
    return Grid("", ["", "rows", "take", "go back", "lost"], [row[:-1] for row in grid.rows])


def _ways(document: Document) -> str:
    ways: dict[str, list[str]] = {}
    for title, *_, how in snapshots(document).rows:
        ways.setdefault(how, []).append(title)
    return _bullets(f"{', '.join(dict.fromkeys(titles))}: {how}." for how, titles in ways.items())


def _verified(kedge: Iterable[Outcome]) -> Iterable[str]:
    said = [f"{seconds(one.undone_verified)} at {one.stage}" for one in kedge if one.undone_verified is not None]
    if said:
        yield _filled(
            f"By default, `k.rollback()` verifies the stores before it returns. With that: {', '.join(said)}."
        )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(_filled(line, "- ", "  ") for line in lines)


def _filled(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _pipes(grid: Grid) -> str:
    """Write a table; a wide one becomes several, each with the first column."""
    columns = len(grid.head) - 1
    size = ceil(columns / ceil(columns / (_COLUMNS - 1)))
    return "\n\n".join(_table(grid, start, start + size) for start in range(1, columns + 1, size))


def _table(grid: Grid, start: int, stop: int) -> str:
    head, *rows = ([row[0], *row[start:stop]] for row in [grid.head, *grid.rows])
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(_short(cell.strip()) for cell in row) + " |" for row in lines)


def _short(cell: str) -> str:
    """Cut the reason off a status: the page gives it once, at the top."""
    return "stopped" if cell.startswith("stopped") else cell
