"""Run of one store on one stage: `python -m bench.peers.play load|serve PEER STAGE STORE OUTCOME [RECALL]`.

`load` fills an empty store with all processors. `serve` opens it in a fresh process and does the rest: searches on one
processor, writes and rollbacks on all. What is measured is written to OUTCOME after each step.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import msgspec
import numpy as np

from bench.peers.adapters import PEERS
from bench.peers.exact import recall
from bench.peers.outcome import Outcome, Rewound, Spent, Timing, Undone
from bench.peers.peer import By, Floats, Found, Ints, Peer, Repeatable, Rewindable, Rows, Telling, View
from bench.peers.process import disk_bytes, memory, run_on
from bench.peers.stage import K, Stage

BATCH = 10_000
RECALL_WANTED = 0.98
_BUDGET_SECONDS = 15.0  # of one series of searches: slow peers answer fewer queries, but at least these:
_QUERIES_MIN = 10
_WARM_UP = 20
_BLOCK = 10
_SAMPLE = 200
_SINGLES = 30
_RIGHT_WITHIN_SECONDS = 120.0
_REST_SECONDS = 60.0  # at most, until what a store does behind the scenes takes no more of a processor than this:
_AT_REST = 0.05
_REPEATS = 5
_REWIND_ROWS_MAX = 100_000
_CLOSE = 1e-3


class Play:
    """The measures of one peer on one stage, step by step."""

    def __init__(self, peer: Peer, stage: Stage, store: Path, outcome: Outcome, path: Path) -> None:
        self.peer, self.stage, self.store, self.outcome = peer, stage, store, outcome
        self._path = path
        self._cpus = os.sched_getaffinity(0)

    def save(self) -> None:
        """Write down what is measured so far."""
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self.outcome))
        new.replace(self._path)

    # ── load ──

    def load(self) -> None:
        """Fill the store in batches; index it."""
        self.store.mkdir()
        self.peer.create(self.store, self.stage.scale.dim, self.stage.count)
        self.outcome.version = self.peer.version()
        spent = 0.0
        for chosen in self.stage.batches(BATCH):
            rows = self.stage.base(chosen)
            spent += _seconds(partial(self.peer.load, rows))
        self.outcome.load = spent
        self.save()
        self.outcome.build = _seconds(self.peer.build)
        self.peer.close()
        self.outcome.disk = disk_bytes(self.store)

    # ── serve ──

    def serve(self, recall_wanted: float) -> None:
        """Do everything else."""
        for step in self._steps(recall_wanted):
            step()
            self.save()
        self.peer.close()

    def _steps(self, recall_wanted: float) -> Iterator[Callable[[], None]]:
        yield self._open
        yield lambda: self._tune(recall_wanted)
        yield self._search_plain
        yield self._search_views
        yield self._undo_flood
        yield self._write_bad
        yield self._undo_bad
        yield self._write_singles
        yield self._rewind

    def _open(self) -> None:
        tune = self.stage.array("tune")
        before = memory([os.getpid()])
        self._one_cpu()
        began = time.perf_counter()
        self.peer.open(self.store)
        self.peer.search(tune[0], K, View.ALL, self.peer.efforts[-1])
        self.outcome.opened = time.perf_counter() - began
        self._before = before

    def _one_cpu(self) -> None:
        run_on(self._pids(), {min(self._cpus)})

    def _all_cpus(self) -> None:
        run_on(self._pids(), self._cpus)

    def _pids(self) -> list[int]:
        try:
            return self.peer.processes()
        except AttributeError:  # not open yet
            return [os.getpid()]

    def _tune(self, wanted: float) -> None:
        """Take the least effort that finds enough; where none does, the one that finds most."""
        self._one_cpu()
        truth = self.stage.truth("tune", View.ALL)
        spent = []
        for effort in self.peer.efforts:
            timing = self._timed(self.stage.array("tune"), View.ALL, effort, truth, _BUDGET_SECONDS / 2)
            spent.append(Spent(effort, timing.recall or 0.0, timing.p50))
            if spent[-1].recall >= wanted:
                break
        self.outcome.efforts = spent
        enough = [one for one in spent if one.recall >= wanted]
        self.outcome.effort = enough[0].effort if enough else max(spent, key=lambda one: one.recall).effort

    @property
    def effort(self) -> int:
        """The effort chosen."""
        assert self.outcome.effort is not None
        return self.outcome.effort

    def _search_plain(self) -> None:
        test, truth = self.stage.array("test"), self.stage.truth("test", View.ALL)
        self.outcome.plain = self._timed(test, View.ALL, self.effort, truth)
        if isinstance(self.peer, Telling):
            self.outcome.exact_share = self.peer.exact_searches / self.peer.searches
        after = memory(self._pids())
        self.outcome.memory_own = after.own - self._before.own
        self.outcome.memory_mapped = after.mapped - self._before.mapped

    def _search_views(self) -> None:
        """A view against none in turns, so that noise disturbs both; then the views that show little."""
        stage, test = self.stage, self.stage.array("test")
        series: dict[View, tuple[list[float], list[list[int]]]] = {View.ALL: ([], []), View.NO_FLOOD: ([], [])}
        for view in series:
            self._answers(test[:_WARM_UP], view, self.effort, _BUDGET_SECONDS / 4)
        ends = time.perf_counter() + 2 * _BUDGET_SECONDS
        for begin in range(0, len(test), _BLOCK):
            for view, so_far in series.items():
                more = self._answers(test[begin : begin + _BLOCK], view, self.effort, _BUDGET_SECONDS)
                so_far[0].extend(more[0])
                so_far[1].extend(more[1])
            if time.perf_counter() > ends:
                break
        off, on = (_timing(seconds, found, stage.truth("test", view)) for view, (seconds, found) in series.items())
        self.outcome.view_off, self.outcome.view_on = off, on
        self.outcome.few = self._timed(test, View.FEW, self.effort, stage.truth("test", View.FEW))
        self.outcome.tiny = self._timed(test, View.TINY, self.effort, stage.truth("test", View.TINY))
        truth = stage.truth("flood", View.NO_FLOOD)
        self.outcome.flood_filtered = self._timed(stage.array("flood"), View.NO_FLOOD, self.effort, truth)

    def _undo_flood(self) -> None:
        self._all_cpus()
        self.outcome.flood_undone = _seconds(lambda: self.peer.roll_back(By.FLOOD))
        self._one_cpu()
        truth = self.stage.truth("flood", View.NO_FLOOD)
        self.outcome.flood = self._timed(self.stage.array("flood"), View.ALL, self.effort, truth)

    def _write_bad(self) -> None:
        """The bad deployment adds and overwrites; then others write, some of it over what the bad one wrote."""
        acts = self.acts = self.stage.acts()
        self._snapshot()
        self._all_cpus()
        self.outcome.add = _seconds(lambda: _in_batches(self.peer.add, acts.added))
        self.outcome.overwrite = _seconds(
            lambda: _in_batches(lambda r: self.peer.overwrite(r, keep=True), acts.overwritten)
        )
        self._one_cpu()
        self.outcome.superseded = self._timed(self.stage.array("test"), View.ALL, self.effort, None)
        self._all_cpus()
        self.peer.add(acts.other_added)
        self.peer.overwrite(acts.other_overwritten, keep=False)
        self.peer.overwrite(acts.other_over_bad, keep=False)

    def _undo_bad(self) -> None:
        numbers = self.acts.numbers_after()
        _rest()
        began = time.perf_counter()
        self.peer.roll_back(By.BAD)
        returned = time.perf_counter() - began
        while not (is_right := self._reads_right(numbers)) and time.perf_counter() - began < _RIGHT_WITHIN_SECONDS:
            time.sleep(0.001)
        right = time.perf_counter() - began
        wrong = [] if is_right else [f"what search finds, {_RIGHT_WITHIN_SECONDS:.0f} s later"]
        self.outcome.undone = Undone(returned, right, [*wrong, *self._wrong(numbers)], self._survived())
        if isinstance(self.peer, Repeatable):
            for _ in range(_REPEATS):
                self.peer.reinstate(By.BAD)
                self._reads_right(numbers)
                began = time.perf_counter()
                self.peer.roll_back(By.BAD)
                self.outcome.calls_again.append(time.perf_counter() - began)
                assert self._reads_right(numbers)
                self.outcome.undone_again.append(time.perf_counter() - began)
            self.peer.reinstate(By.BAD)
            peer = self.peer
            self.outcome.undone_verified = _seconds(lambda: peer.roll_back_and_verify(By.BAD))
        self.outcome.notes |= getattr(self.peer, "notes", {})
        self._one_cpu()
        self.outcome.after = self._timed(
            self.stage.array("test"), View.ALL, self.effort, self.stage.truth("test", None)
        )

    def _reads_right(self, numbers: Ints) -> bool:
        """Read where the bad deployment wrote: an added row and an overwritten one, by search and by id."""
        added, overwritten = self.acts.added, self.acts.overwritten
        ids = [int(added.ids[0]), int(overwritten.ids[-1])]
        found = self.peer.get(ids)
        if ids[0] in found or ids[1] not in found or found[ids[1]].number != numbers[ids[1]]:
            return False
        asked = (added.vectors[0], overwritten.vectors[-1], self.acts.vector(self.stage, int(numbers[ids[1]])))
        hits = [hit for query in asked for hit in self.peer.search(query, K, View.ALL, self.effort)]
        return all(numbers[hit.id] == hit.number for hit in hits) and ids[1] in [hit.id for hit in hits[-K:]]

    def _wrong(self, numbers: Ints) -> list[str]:
        """Return what is not as it should be: a few of every kind of row, and the number of rows."""
        acts, wrong = self.acts, []
        later = set(acts.other_over_bad.ids.tolist())
        for what, rows in (("added", acts.added), ("overwritten", acts.overwritten)):
            ids = [i for i in _spread(rows.ids) if i not in later]
            bad = sum(not self._is_right(i, numbers, found) for i, found in self._get(ids))
            if bad:
                wrong.append(f"{bad} of {len(ids)} {what} rows")
        there, expected = self.peer.count(), int((numbers >= 0).sum())
        if there != expected:
            wrong.append(f"{there:,} rows instead of {expected:,}")
        return wrong

    def _survived(self) -> float:
        """Return the share of others' writes that are there, as they were written."""
        numbers = self.acts.numbers_after()
        checks = [
            self._is_right(i, numbers, found)
            for rows in (self.acts.other_added, self.acts.other_overwritten, self.acts.other_over_bad)
            for i, found in self._get(_spread(rows.ids))
        ]
        return sum(checks) / len(checks)

    def _get(self, ids: list[int]) -> Iterator[tuple[int, Found | None]]:
        found = self.peer.get(ids)
        for i in ids:
            yield i, found.get(i)

    def _is_right(self, i: int, numbers: Ints, found: Found | None) -> bool:
        number = int(numbers[i])
        if found is None or number < 0:
            return found is None and number < 0
        expected = self.acts.vector(self.stage, number)
        return (
            found.number == number and found.vector is not None and bool(np.abs(found.vector - expected).max() < _CLOSE)
        )

    def _write_singles(self) -> None:
        self._all_cpus()
        taken = []
        for i, row in zip(count(self.acts.next_id), range(_SINGLES), strict=False):
            vector = self.stage.array("test")[row % self.stage.scale.queries][None, :]
            one = Rows(np.array([i]), vector, np.array([-2]), np.array([By.OTHER], np.int8))
            taken.append(_seconds(partial(self.peer.add, one)))
        self.outcome.single = _timing(taken)

    # ── snapshots ──

    def _snapshot(self) -> None:
        self._copy = self.store.with_name(self.store.name + "-copy")
        self._taken: object = None
        if isinstance(self.peer, Repeatable) or not self.peer.durable or self.stage.count > _REWIND_ROWS_MAX:
            return
        began = time.perf_counter()
        if isinstance(self.peer, Rewindable):
            self._taken = self.peer.snapshot()
        else:
            self.peer.close()
            subprocess.run(["cp", "-a", self.store, self._copy], check=True)
            self.peer.open(self.store)
        self._snapshot_seconds = time.perf_counter() - began

    def _rewind(self) -> None:
        """Go back to the snapshot, and see what that loses."""
        native = self._taken is not None
        if not native and not self._copy.exists():
            return
        began = time.perf_counter()
        if native and isinstance(self.peer, Rewindable):
            self.peer.rewind(self._taken)
        else:
            self.peer.close()
            shutil.rmtree(self.store)
            self._copy.rename(self.store)
            self.peer.open(self.store)
        self.peer.search(self.acts.added.vectors[0], K, View.ALL, self.effort)
        right = time.perf_counter() - began
        how = "its own snapshot" if native else "a copy of its folder, put in place while it is closed"
        self.outcome.rewound = Rewound(how, self._snapshot_seconds, right, 1 - self._survived())

    # ── searching ──

    def _timed(
        self, queries: Floats, view: View, effort: int, truth: Ints | None, budget: float = _BUDGET_SECONDS
    ) -> Timing:
        self._answers(queries[:_WARM_UP], view, effort, budget / 4)
        seconds, found = self._answers(queries, view, effort, budget)
        return _timing(seconds, found, truth)

    def _answers(self, queries: Floats, view: View, effort: int, budget: float) -> tuple[list[float], list[list[int]]]:
        seconds: list[float] = []
        found: list[list[int]] = []
        ends = time.perf_counter() + budget
        for query in queries:
            began = time.perf_counter()
            hits = self.peer.search(query, K, view, effort)
            now = time.perf_counter()
            seconds.append(now - began)
            found.append([hit.id for hit in hits])
            if now > ends and len(seconds) >= _QUERIES_MIN:
                break
        return seconds, found


def _timing(seconds: list[float], found: list[list[int]] | None = None, truth: Ints | None = None) -> Timing:
    right = None if truth is None or found is None else recall(found, truth[: len(found)])
    return Timing(statistics.median(seconds), float(np.percentile(seconds, 99)), len(seconds), right)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _rest() -> None:
    """Wait until this process does nothing behind the scenes any more, such as indexing what was just written."""
    until = time.monotonic() + _REST_SECONDS
    while time.monotonic() < until:
        began, spent = time.monotonic(), time.process_time()
        time.sleep(0.5)
        if time.process_time() - spent < _AT_REST * (time.monotonic() - began):
            return


def _in_batches(write: Callable[[Rows], object], rows: Rows) -> None:
    for begin in range(0, len(rows), BATCH):
        write(rows.part(slice(begin, begin + BATCH)))


def _spread(ids: Ints) -> list[int]:
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(len(ids), _SAMPLE)).astype(np.int64))
    return [int(i) for i in ids[chosen]]


def main(arguments: list[str]) -> int:
    """Play one part."""
    part, name, *rest = arguments
    stage_folder, store, path = map(Path, rest[:3])
    stage = Stage.open(stage_folder)
    if path.exists():
        outcome = msgspec.json.decode(path.read_bytes(), type=Outcome)
    else:
        kind = PEERS[name]
        outcome = Outcome(name, kind.title, stage.scale.name, stage.count, index=kind.index, method=kind.method)
    try:
        peer = PEERS[name]()
    except ImportError as missing:
        outcome.status = f"not installed ({missing.name})"
        path.write_bytes(msgspec.json.encode(outcome))
        return 0
    play = Play(peer, stage, store, outcome, path)
    if part == "load":
        play.load()
    else:
        play.serve(float(rest[3]) if len(rest) > 3 else RECALL_WANTED)
    play.save()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
