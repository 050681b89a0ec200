"""Vector search through a view that hides rows, or through a filter, against a search without."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import kedge
from bench.harness import Measured, Setting, interleave, micro, ratio, timed
from kedge.stores.vectors import VectorsView

K = 10
BATCH = 10_000
UNTIL_KNOWN = 8  # rounds after which the rows that pass an undeclared filter are cached
Floats = npt.NDArray[np.float32]


def searches(setting: Setting) -> Iterator[Measured]:
    """Compare search with a third hidden to numpy over the same file, and to search with nothing hidden."""
    sizes = setting.sizes
    setting.say(f"writing {sizes.rows:,} vectors of {sizes.dim} dimensions, twice")
    random = np.random.default_rng(7)
    rows = random.standard_normal((sizes.rows, sizes.dim), np.float32)
    queries = random.standard_normal((16, sizes.dim), np.float32)
    plain, mixed = setting.fresh("plain"), setting.fresh("mixed")
    with kedge.open(plain, durability="normal") as all_shown, kedge.open(mixed, durability="normal") as part_shown:
        _fill(all_shown, rows, hide=False)
        _fill(part_shown, rows, hide=True)
        mapped = np.memmap(_segment(mixed), np.float32, "r", shape=rows.shape)
        norms = np.sqrt(np.einsum("ij,ij->i", mapped, mapped, dtype=np.float32))

        def numpy_search() -> None:
            for query in queries:
                scores = (mapped @ query) / norms
                top = np.argpartition(scores, len(scores) - K)[-K:]
                top[np.argsort(-scores[top])]

        def search(k: kedge.Kedge) -> None:
            with k.turn(agent="a") as turn:
                vectors = turn.vectors("kb")
                for query in queries:
                    assert len(vectors.search(query, k=K, exact=True)) == K

        seconds = interleave(
            sizes.rounds, lambda: search(part_shown), lambda: search(all_shown), numpy_search, warm_up=1
        )
    count = len(queries)
    view, without, raw = seconds
    what = f"exact search of {sizes.rows:,} × {sizes.dim}, a third hidden"
    yield Measured(
        f"{what}: time vs numpy over the same mapped rows",
        ratio(view, raw), "×", f"{micro(view, count)} vs {micro(raw, count)}", at_most=1.2,
    )  # fmt: skip
    yield Measured(
        f"{what}: time vs the same search with nothing hidden",
        ratio(view, without), "×", f"{micro(view, count)} vs {micro(without, count)}", at_most=1.2,
    )  # fmt: skip


SHARES = {"half": "50 %", "part": "5 %", "rare": "0.1 %"}


def filtered(setting: Setting) -> Iterator[Measured]:
    """Compare searches by the index with a filter and without, of fields that are declared and of others."""
    sizes = setting.sizes
    setting.say(f"writing and indexing {sizes.rows:,} vectors of {sizes.dim} dimensions, twice")
    random = np.random.default_rng(11)
    centres = random.standard_normal((200, sizes.dim), np.float32)
    rows = centres[random.integers(0, len(centres), sizes.rows)]
    rows += np.float32(0.5) * random.standard_normal(rows.shape, np.float32)
    draws = random.random((sizes.rows, 3)) < (0.5, 0.05, 0.001)
    queries = rows[random.choice(sizes.rows, 64, replace=False)] + np.float32(0.01)
    for what, fields in (("declared", tuple(SHARES)), ("undeclared", ())):
        with kedge.open(setting.fresh(what), durability="normal") as k:
            k.collection("kb", dim=sizes.dim, fields=fields)
            _load(k, rows, [dict(zip(SHARES, draw, strict=True)) for draw in draws.tolist()])
            yield from _compare(k, queries, what, sizes.rounds)


def _load(k: kedge.Kedge, rows: Floats, payloads: list[dict[str, bool]]) -> None:
    for low in range(0, len(rows), BATCH):
        numbers = range(low, min(low + BATCH, len(rows)))
        with k.turn(agent="clerk") as turn:
            ids = [f"row-{n}" for n in numbers]
            turn.vectors("kb").upsert(ids, rows[numbers.start : numbers.stop], payloads[numbers.start : numbers.stop])
    k.optimize()


def _compare(k: kedge.Kedge, queries: Floats, what: str, rounds: int) -> Iterator[Measured]:
    """Time the first search by each filter, and then all of them in turn."""
    kb = k.view().vectors("kb")

    def search(where: dict[str, bool] | None) -> None:
        for query in queries:
            kb.search(query, k=K, where=where)

    search(None)
    firsts: dict[str, list[float]] = {field: [] for field in SHARES}
    for field, taken in firsts.items():
        with timed(taken):
            kb.search(queries[0], k=K, where={field: True})
        recall = _recall(kb, queries, {field: True})
        share = f"{what}, {SHARES[field]} pass"
        yield Measured(f"recall@{K} through a filter ({share})", recall, "", at_least=0.98)
    for field in (*SHARES,) * UNTIL_KNOWN:
        search({field: True})
    plain, *filters = interleave(
        rounds, lambda: search(None), *(partial(search, {field: True}) for field in SHARES), warm_up=1
    )
    for (field, share), seconds in zip(SHARES.items(), filters, strict=True):
        yield Measured(
            f"search by a filter ({what}, {share} pass): time vs no filter",
            ratio(seconds, plain), "×", f"{micro(seconds, len(queries))} vs {micro(plain, len(queries))}; "
            f"first search of the process {micro(firsts[field])}",
            at_most=2.0 if field == "half" else None,
        )  # fmt: skip


def _recall(kb: VectorsView, queries: Floats, where: dict[str, bool]) -> float:
    shares = []
    for query in queries:
        found, truth = kb.search(query, k=K, where=where), kb.search(query, k=K, where=where, exact=True)
        shares.append(len({hit.id for hit in found} & {hit.id for hit in truth}) / len(truth) if truth else 1.0)
    return float(np.mean(shares))


def _fill(k: kedge.Kedge, rows: Floats, *, hide: bool) -> None:
    """Write the rows; where a part is to hide, a fifth is a rolled-back release's and 15 % are written over."""
    k.collection("kb", dim=rows.shape[1])
    k.deploy("v1", {"a/prompt": "one"})
    k.promote("v1")
    k.deploy("v2", {"a/prompt": "two"})
    total = len(rows)
    first_hidden, first_again = (total * 65 // 100, total * 85 // 100) if hide else (total, total)
    for start, end, deployment in (
        (0, first_hidden, None),
        (first_hidden, first_again, "v2"),
        (first_again, total, None),
    ):
        again = start == first_again
        with k.turn(agent="a", deployment=deployment) as turn:
            for low in range(start, end, BATCH):
                numbers = range(low, min(low + BATCH, end))
                ids = [f"row-{n - first_again if again else n}" for n in numbers]
                turn.vectors("kb").upsert(ids, rows[numbers.start : numbers.stop])
    if hide:
        k.rollback("v2", verify=False)


def _segment(folder: Path) -> Path:
    (path,) = (folder / "kedge.db-vectors").glob("*.f32")
    return path
