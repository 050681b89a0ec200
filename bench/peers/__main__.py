"""`python -m bench.peers`: measure Kedge and other vector stores by the same steps in one run, and write the results.

Each store is filled in one process, then searched, written to and rolled back in another. What a store cannot do, or is
not installed, is shown in its row and stops no other store. `make bench-peers` installs all of them.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from bench.peers import text
from bench.peers.adapters import PEERS
from bench.peers.document import Document
from bench.peers.machine import Machine, this_machine
from bench.peers.outcome import Outcome
from bench.peers.play import RECALL_WANTED
from bench.peers.report import markdown, tables
from bench.peers.stage import Scale, Stage, prepare, text_rows

ROOT = Path(__file__).parents[2]
DIM = 384
ROWS = (10_000, 100_000, 1_000_000)
QUICK_ROWS = (2_000, 10_000)
QUICK_TEXT_ROWS = 2_000
LIMIT_SECONDS = 3_600.0
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
_QUIET = {"HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "False", "PYTHONWARNINGS": "ignore", "RUST_LOG": "error"}

Say = Callable[[str], None]


def scales(rows: Sequence[int], texts: str, quick_text: int | None, queries: int = 200) -> list[Scale]:
    """Return the stages: clustered synthetic rows of every size, and real texts unless `texts` is "none"."""
    found = [Scale(f"clustered {_short(count)}", "clustered", count, DIM, queries) for count in rows]
    if texts != "none":
        count = text_rows() if quick_text is None else quick_text
        found.append(Scale(f"text {_short(count)}", "text", count, DIM, queries))
    return found


def _short(count: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def run(
    stages: Sequence[Scale],
    peers: Sequence[str],
    data: Path,
    scratch: Path,
    say: Say,
    *,
    keep: Callable[[list[Outcome]], None] = lambda _: None,
    embedder: str = "lsa",
    limit: float = LIMIT_SECONDS,
) -> list[Outcome]:
    """Let every peer play on every stage; Kedge first, whose recall the others are to reach.

    `keep` is given what there is so far after each.
    """
    outcomes = []
    for scale in stages:
        stage = prepare(scale, data / scale.name.replace(" ", "-"), embedder, say)
        wanted = RECALL_WANTED
        for name in sorted(peers, key=lambda name: name != "kedge"):
            say(f"{scale.name}: {name}")
            outcome = play(name, stage, scratch, wanted, limit)
            outcomes.append(outcome)
            keep(outcomes)
            if name == "kedge" and outcome.efforts:
                wanted = max(wanted, outcome.efforts[0].recall)
    return outcomes


def play(name: str, stage: Stage, scratch: Path, recall_wanted: float, limit: float) -> Outcome:
    """Measure one store in separate processes, stopped after `limit` seconds; return the outcome."""
    kind = PEERS[name]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=scratch, ignore_cleanup_errors=True) as folder:
        store, path = Path(folder) / "store", Path(folder) / "outcome.json"
        Path(folder).chmod(0o755)  # a PostgreSQL that must not be root looks through here
        problem = ""
        with_what = [name, str(stage.folder), str(store), str(path), str(recall_wanted)]
        for part, environment in (("load", {}), ("serve", dict.fromkeys(_ONE_THREAD, "1"))):
            left = limit - (time.monotonic() - began)
            problem = _process([part, *with_what], environment, left)
            if problem or not store.exists():
                break
        if path.exists():
            outcome = msgspec.json.decode(path.read_bytes(), type=Outcome)
        else:
            outcome = Outcome(name, kind.title, stage.scale.name, stage.count, index=kind.index, method=kind.method)
    if problem:
        outcome.status = problem
    outcome.seconds = time.monotonic() - began
    return outcome


def _process(arguments: list[str], environment: dict[str, str], seconds: float) -> str:
    """Run one part; return what went wrong, or nothing."""
    if seconds <= 0:
        return f"stopped: not done with `{arguments[0]}` within the time limit"
    command = [sys.executable, "-m", "bench.peers.play", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | _QUIET | environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
    ) as process:  # fmt: skip
        try:
            _, errors = process.communicate(timeout=max(0.01, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"stopped: not done with `{arguments[0]}` within the time limit"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode == 0:
        return ""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = lines[-1] if lines and process.returncode > 0 else f"ended with {process.returncode}"
    return f"failed in `{arguments[0]}`: {said.replace(str(ROOT), '…')[:200]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write. What a peer wins is printed like what Kedge wins."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", metavar="N", help=f"sizes of synthetic data (default: {ROWS})")
    parser.add_argument("--text", choices=["auto", *text.EMBEDDERS, "none"], default="auto", help="what embeds texts")
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="these peers")
    parser.add_argument("--quick", action="store_true", help="small sizes: a smoke run")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, metavar="SECONDS", help="for a peer on a stage")
    parser.add_argument("--data", type=Path, default=ROOT / "build" / "peers", help="where data is kept")
    parser.add_argument("--scratch", type=Path, help="where the stores lie while they are measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page here")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="measure nothing: read this instead")
    chosen = parser.parse_args(arguments)
    for path in (chosen.json, chosen.markdown):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    document = _read(chosen.source) if chosen.source is not None else _measure(chosen)
    _keep(document, chosen.json)
    if chosen.markdown is not None:
        chosen.markdown.write_text(markdown(document), encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 220)
    for table in tables(document):
        console.print(table)
    return 0


def _read(path: Path) -> Document:
    return msgspec.json.decode(path.read_bytes(), type=Document)


def _measure(chosen: argparse.Namespace) -> Document:
    notes = Console(stderr=True)
    embedder = text.best_embedder() if chosen.text == "auto" else chosen.text
    rows = chosen.rows or (QUICK_ROWS if chosen.quick else ROWS)
    stages = scales(rows, chosen.text, QUICK_TEXT_ROWS if chosen.quick else None)
    machine: Machine = this_machine()
    scratch = Path(tempfile.mkdtemp(prefix="kedge-peers-", dir=chosen.scratch))
    scratch.chmod(0o755)
    began = time.monotonic()

    def say(what: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began:7.0f} s[/]  {what}", highlight=False)

    def document(outcomes: list[Outcome]) -> Document:
        return Document(machine, embedder if chosen.text != "none" else "", outcomes, time.monotonic() - began)

    def keep(outcomes: list[Outcome]) -> None:
        _keep(document(outcomes), chosen.json)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what runs is stopped
    try:
        return document(
            run(stages, chosen.only, chosen.data, scratch, say, keep=keep, embedder=embedder, limit=chosen.limit)
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep(document: Document, path: Path | None) -> None:
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
