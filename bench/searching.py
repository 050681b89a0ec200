"""Exact vector search through a view that hides a part of the rows, against the same search without one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

import kedge
from bench.harness import Measured, Setting, interleave, micro, ratio

K = 10
BATCH = 10_000
Floats = npt.NDArray[np.float32]


def searches(setting: Setting) -> Iterator[Measured]:
    """Compare our search where a third is not shown with numpy over the same file, and with ours where all is shown."""
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
    what = f"exact search of {sizes.rows:,} × {sizes.dim}, a third not shown"
    yield Measured(
        f"{what}: time vs numpy over the same mapped rows",
        ratio(view, raw), "×", f"{micro(view, count)} vs {micro(raw, count)}", at_most=1.2,
    )  # fmt: skip
    yield Measured(
        f"{what}: time vs our search where all is shown",
        ratio(view, without), "×", f"{micro(view, count)} vs {micro(without, count)}", at_most=1.2,
    )  # fmt: skip


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
