"""`python -m bench [--only NAME] [--quick] [--json FILE]`: measure, print a table, write JSON."""

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import (
    appending,
    caching,
    churn,
    combining,
    compacting,
    embedding_gate,
    fanout,
    fetching,
    fleet,
    grouping,
    grown,
    guard,
    health,
    importing,
    loading,
    observations,
    on_langgraph,
    on_postgres,
    opening,
    ranges,
    reading,
    releases,
    rollbacks,
    searching,
    stopping,
    touched,
    upkeep,
)
from bench.harness import FULL, QUICK, Group, Measured, Setting, Sizes

GROUPS: dict[str, Group] = {
    "batches": appending.batches,
    "single": appending.single,
    "grouping": grouping.grouping,
    "turns": appending.turns,
    "caching": caching.caching,
    "heads": reading.heads,
    "hidden": reading.hidden,
    "ranges": ranges.ranges,
    "together": ranges.turn_batches,
    "loads": loading.loads,
    "search": searching.searches,
    "filters": searching.filtered,
    "compaction": compacting.compaction,
    "fetch": fetching.batches,
    "delete": fetching.deletes,
    "importing": importing.importing,
    "langgraph": on_langgraph.on_langgraph,
    "opening": opening.opening,
    "commits": rollbacks.commits,
    "notices": rollbacks.notices,
    "memory": rollbacks.memory,
    "leases": fleet.leases,
    "acknowledgements": fleet.acknowledgements,
    "sizes": grown.sizes,
    "churn": churn.churn,
    "health": health.health,
    "embedding_gate": embedding_gate.embedding_gate,
    "guard": guard.guard,
    "observations": observations.observations,
    "combining": combining.combining,
    "members": fanout.members,
    "stopping": stopping.stopping,
    "touched": touched.touched,
    "upkeep": upkeep.upkeep,
    "record": releases.record,
    "releases": releases.cycles,
    "chained": releases.chained,
    "postgres": on_postgres.on_postgres,
}


def run(sizes: Sizes, only: Sequence[str] = (), *, folder: Path | None = None) -> dict[str, list[Measured]]:
    """Measure the groups in `only`, or all, in a temporary folder that is removed afterwards."""
    notes = Console(stderr=True)
    found = {}
    with tempfile.TemporaryDirectory(prefix="kedge-bench-", dir=folder) as scratch, notes.status("…") as status:
        setting = Setting(sizes, Path(scratch), status.update)
        for name, group in GROUPS.items():
            if not only or name in only:
                status.update(name)
                found[name] = list(group(setting))
    return found


def report(found: dict[str, list[Measured]], sizes: Sizes) -> dict[str, Any]:
    """Return the JSON document."""
    lines = [
        {"group": group, **msgspec.structs.asdict(line), "met": line.met}
        for group, measured in found.items()
        for line in measured
    ]
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version,
                    "numpy": np.__version__},
        "sizes": msgspec.structs.asdict(sizes),
        "met": all(line["met"] is not False for line in lines),
        "measured": lines,
    }  # fmt: skip


def table(found: dict[str, list[Measured]]) -> Table:
    """Return the table for people."""
    drawn = Table("group", "what", "measured", "target", "met?", "detail")
    for group, measured in found.items():
        for line in measured:
            drawn.add_row(group, line.name, _number(line.value, line.unit), _target(line), _met(line), line.detail)
        drawn.add_section()
    return drawn


def _number(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 1_000 else 2
    return f"{value:,.{digits}f}{'' if unit == '×' else ' '}{unit}"


def _target(line: Measured) -> str:
    if line.at_most is not None:
        return f"≤ {line.at_most:g}{'' if line.unit == '×' else ' '}{line.unit}"
    if line.at_least is not None:
        return f"≥ {line.at_least:g}{'' if line.unit == '×' else ' '}{line.unit}"
    return ""


def _met(line: Measured) -> str:
    if line.met is None:
        return ""
    return "[green]yes[/]" if line.met else "[bold red]NO[/]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write. A missed target is shown but is not a failure: the machine may be busy."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(GROUPS), default=[], help="run this group only; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, as a smoke test")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the JSON document to FILE; - prints only the document"
    )
    chosen = parser.parse_args(arguments)
    sizes = QUICK if chosen.quick else FULL
    found = run(sizes, chosen.only)
    document = json.dumps(report(found, sizes), ensure_ascii=False, indent=2)
    if str(chosen.json) == "-":
        print(document)
        return 0
    if chosen.json is not None:
        chosen.json.write_text(document + "\n", encoding="utf-8")
    Console(width=None if sys.stdout.isatty() else 200).print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
