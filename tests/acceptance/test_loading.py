"""Loading in bulk: all rows come, once; what came with a deployment goes with it.

Reading Parquet and Arrow needs packages too large for every test run: `make imports` installs them.
"""

import datetime as dt
import json
import signal
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.bulk import Rows
from tests.acceptance.cli import Run, spawn
from tests.acceptance.rows import matrix, optional, stored

HERE = pytest.mark.usefixtures("here")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# ── .npy ──


@HERE
def test_a_file_is_loaded_row_by_row(k: kedge.Kedge) -> None:
    vectors = matrix(25)
    np.save("docs.npy", vectors)
    Path("ids.txt").write_text("".join(f"d{row}\n" for row in range(25)))
    Path("payloads.jsonl").write_text("".join(json.dumps({"n": row}) + "\n" for row in range(25)))
    k.collection("kb", dim=4)
    steps: list[tuple[int, int]] = []
    report = k.load(
        "kb", "docs.npy", ids="ids.txt", payload="payloads.jsonl", batch=10, progress=lambda *step: steps.append(step)
    )
    assert (report.collection, report.rows, report.skipped, report.documents, report.vectorless) == ("kb", 25, 0, 0, 0)
    assert steps == [(10, 25), (20, 25), (25, 25)]
    assert stored(k, "kb") == {f"d{row}": (vectors[row].tolist(), {"n": row}) for row in range(25)}


@HERE
@pytest.mark.parametrize("suffix", [".txt", ".json", ".npy", "list", "none"])
def test_ids_come_from_where_they_are(k: kedge.Kedge, suffix: str) -> None:
    np.save("docs.npy", matrix(3))
    k.collection("kb", dim=4)
    numbers = ["7", "8", "9"]
    ids: Any = Path(f"ids{suffix}")
    if suffix == ".txt":
        ids.write_text("7\r\n8\n9")
    elif suffix == ".json":
        ids.write_text("[7, 8, 9]")
    elif suffix == ".npy":
        np.save(ids, np.array([7, 8, 9]))
    else:
        ids = numbers if suffix == "list" else None
    k.load("kb", "docs.npy", ids=ids, batch=2)
    assert list(stored(k, "kb")) == (["docs/0", "docs/1", "docs/2"] if suffix == "none" else numbers)


@HERE
def test_a_load_that_was_stopped_goes_on(k: kedge.Kedge) -> None:
    np.save("docs.npy", matrix(35))
    k.collection("kb", dim=4)

    def stop(done: int, _total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        k.load("kb", "docs.npy", batch=10, progress=stop)
    assert len(stored(k, "kb")) == 20
    seq = k.seq
    report = k.load("kb", "docs.npy", batch=10)
    assert (report.rows, report.skipped) == (15, 20)
    assert k.seq == seq + 15
    assert len(stored(k, "kb")) == 35
    again = k.load("kb", "docs.npy", batch=10)
    assert (again.rows, again.skipped, k.seq) == (0, 35, seq + 15)


@HERE
def test_a_load_that_was_killed_goes_on(tmp_path: Path) -> None:
    np.save("docs.npy", matrix(4000, dim=64))
    with kedge.open("state") as k:
        k.collection("kb", dim=64)
        first = k.seq
    argv = ("load", "kb", "docs.npy", "--batch", "40", "--db", "state")
    process = spawn(*argv, cwd=tmp_path)
    with kedge.open("state", read_only=True) as k:
        while k.seq < first + 200 and process.poll() is None:
            pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = spawn(*argv, "--json", cwd=tmp_path)
    out, err = finished.communicate()
    assert finished.returncode == 0, err
    report = json.loads(out)["load"]
    assert report["skipped"] >= 160
    assert report["rows"] + report["skipped"] == 4000
    with kedge.open("state") as k:
        assert (len(stored(k, "kb")), k.seq) == (4000, first + 4000)
        assert k.fsck(full=True).ok


@HERE
def test_what_has_grown_or_changed_is_loaded(k: kedge.Kedge) -> None:
    vectors = matrix(30)
    k.collection("kb", dim=4)
    np.save("docs.npy", vectors[:20])
    k.load("kb", "docs.npy", batch=10)
    vectors[3] = 7
    np.save("docs.npy", vectors)
    report = k.load("kb", "docs.npy", batch=10)
    assert (report.rows, report.skipped) == (20, 10)
    assert stored(k, "kb")["docs/3"][0] == [7.0] * 4


@HERE
def test_again_writes_once_more(k: kedge.Kedge) -> None:
    np.save("docs.npy", matrix(3))
    k.collection("kb", dim=4)
    k.load("kb", "docs.npy")
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").delete(["docs/1"])
    assert k.load("kb", "docs.npy").skipped == 3
    assert len(stored(k, "kb")) == 2
    assert k.load("kb", "docs.npy", again=True).rows == 3
    assert len(stored(k, "kb")) == 3


@HERE
def test_one_file_may_go_to_two_collections(k: kedge.Kedge) -> None:
    np.save("docs.npy", matrix(3))
    for name in ("a", "b"):
        k.collection(name, dim=4)
        assert k.load(name, "docs.npy").rows == 3


# ── as a deployment ──


@HERE
def test_what_is_loaded_inside_a_deployment_falls_with_it(k: kedge.Kedge) -> None:
    np.save("docs.npy", matrix(12))
    k.collection("kb", dim=4)
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["docs/0", "own"], matrix(2, seed=2), ["old", "own"])
    before = stored(k, "kb")
    k.deploy("spring", {"spring/source": "docs.npy"})
    assert k.load("kb", "docs.npy", deployment="spring", batch=5).rows == 12
    assert stored(k, "kb") == before
    assert len(stored(k, "kb", deployment="spring")) == 13
    k.promote("spring")
    assert len(stored(k, "kb")) == 13
    report = k.load("kb", "docs.npy", deployment="spring", batch=5)
    assert (report.rows, report.skipped) == (0, 12)
    k.rollback("spring")
    assert stored(k, "kb") == before
    k.reinstate("spring")
    assert len(stored(k, "kb")) == 13


@HERE
def test_a_load_after_a_rollback_writes_anew(k: kedge.Kedge) -> None:
    np.save("docs.npy", matrix(12))
    k.collection("kb", dim=4)
    k.deploy("spring", {"spring/source": "docs.npy"})
    k.load("kb", "docs.npy", deployment="spring")
    k.rollback("spring")
    assert k.load("kb", "docs.npy").rows == 12
    assert len(stored(k, "kb")) == 12


def test_documents_that_come_inside_a_deployment_fall_with_it(k: kedge.Kedge) -> None:
    k.collection("kb", dim=4)
    k.deploy("spring", {"spring/source": "theirs"})
    k.promote("spring")
    k.load("kb", Texts("inside"), deployment="spring")
    k.load("kb", Texts("plain"))
    k.rollback("spring")
    assert k.view().documents("kb").items() == {"plain/0": "text 0", "plain/2": "text 2"}


def test_what_would_stay_is_not_loaded_inside_a_deployment(k: kedge.Kedge) -> None:
    k.collection("kb", dim=4)
    k.deploy("spring", {"shared/prompt": "x"})
    with pytest.raises(kedge.InvalidValue, match="'spring/source'"):
        k.load("kb", Texts("a"), deployment="spring")
    with pytest.raises(kedge.UnknownName):
        k.load("kb", Texts("a"), deployment="sprung")
    assert stored(k, "kb", deployment="spring") == {}


def test_what_a_person_loads_survives(k: kedge.Kedge) -> None:
    k.collection("kb", dim=4)
    k.deploy("v1", {"shared/embedder": {"name": "e", "dim": 4}})
    k.promote("v1")
    k.load("kb", Texts("hers"), person="ann")
    k.load("kb", Texts("its"), agent="robot")
    k.rollback("v1")
    assert sorted(stored(k, "kb")) == ["hers/0", "hers/1", "hers/2"]


class Texts:
    """A source of one's own: three rows, the second without a document."""

    dim = 4
    metric = None
    rows = 4

    def __init__(self, name: str) -> None:
        self.name = name

    def batches(self, _size: int) -> Iterator[Rows]:
        yield Rows(
            [f"{self.name}/{row}" for row in range(3)], matrix(3), None, ["text 0", None, "text 2"], vectorless=1
        )


def test_a_source_of_ones_own(k: kedge.Kedge) -> None:
    k.collection("kb", dim=4)
    report = k.load("kb", Texts("a"))
    assert (report.rows, report.documents, report.vectorless) == (3, 2, 1)
    with pytest.raises(kedge.InvalidValue, match="pass them to the source"):
        k.load("kb", Texts("a"), ids="id")


def test_documents_come_as_one_batch_all_or_none(k: kedge.Kedge) -> None:
    with k.turn(agent="a") as turn:
        documents = turn.documents("kb")
        seqs = documents.put_many({"a": "1", "b": {"n": 2}}, idempotency="x")
        assert seqs == [seqs[0], seqs[0] + 1]
        assert documents.put_many({"a": "1", "b": {"n": 2}}, idempotency="x") == seqs
        assert documents.put_many({}) == []
        with pytest.raises(kedge.InvalidValue, match="the document 'd'"):
            documents.put_many({"c": "3", "d": object()})
        assert documents.items() == {"a": "1", "b": {"n": 2}}
        assert [documents.entry(name).origin for name in "ab"] == ["source", "source"]  # type: ignore[union-attr]
        documents.put_many({"a": "2"}, origin="derived")
        assert documents.entry("a").origin == "derived"  # type: ignore[union-attr]


# ── the command line ──


@HERE
def test_load_on_the_command_line(run: Run) -> None:
    np.save("more.npy", matrix(1200))
    done = run("load", "kb", "more.npy", "--batch", "1000")
    assert done.code == 0
    assert "kb: 1,200 rows in " in done.out
    assert "1,200 rows skipped" in run("load", "kb", "more.npy", "--batch", "1000").out
    assert run("load", "kb", "more.npy", "--again", "--json").document["load"]["rows"] == 1200
    assert run("show", "vectors", "kb/more/7").code == 0


@HERE
def test_a_staged_load_is_taken_back(run: Run) -> None:
    np.save("more.npy", matrix(5))
    for rows, skipped in ((5, 0), (0, 5)):  # --stage stages what is not there
        done = run("load", "kb", "more.npy", "--deployment", "spring", "--stage", "--json").document["load"]
        assert (done["rows"], done["skipped"]) == (rows, skipped)
    assert "Hidden until you run: kedge promote spring" in run("load", "kb", "more.npy", "--deployment", "spring").out
    assert run("show", "vectors", "kb/more/1").code == 2
    assert run("show", "vectors", "kb/more/1", "--deployment", "spring").code == 0
    assert run("rollback", "spring", "--yes").code == 0
    assert run("load", "kb", "more.npy", "--stage").code == 2


@HERE
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("load", "kb", "none.npy"), "there is no file at 'none.npy'"),
        (("load", "kb", "x.csv"), "has an unknown suffix"),
        (("load", "nothing", "ok.npy"), "no collection is named 'nothing'"),
        (("load", "kb", "wide.npy"), "'wide/0' has 5 dimensions"),
        (("load", "kb", "flat.npy"), "of shape (4,)"),
        (("load", "kb", "text.npy"), "cannot be read as an .npy file"),
        (("load", "kb", "objects.npy"), "cannot be read as an .npy file"),
        (("load", "kb", "nan.npy"), "'nan/1' holds NaN"),
        (("load", "kb", "ok.npy", "--ids", "few.txt"), "3 rows, but there are 2 ids"),
        (("load", "kb", "ok.npy", "--ids", "twice.txt"), "'a' occurs twice"),
        (("load", "kb", "ok.npy", "--ids", "bad.json"), "bad.json cannot be read as ids"),
        (("load", "kb", "ok.npy", "--json-payload", "few.txt"), "line 1 of few.txt is not JSON"),
        (("load", "kb", "ok.npy", "--json-payload", "short.jsonl"), "fewer lines than there are rows"),
        (("load", "kb", "ok.npy", "--json-payload", "long.jsonl"), "more lines than there are rows"),
        (("load", "kb", "ok.npy", "--vector", "v"), "has no columns"),
        (("load", "kb", "ok.npy", "--payload", "v"), "is not a file"),
        (("import", "qdrant", "none.jsonl"), "there is no file at 'none.jsonl'"),
        (("import", "qdrant", "kb.snapshot"), "only Qdrant can read"),
        (("import", "qdrant", "x.csv"), "is not JSON"),
        (("import", "chroma", "none"), "there is no folder at 'none'"),
        (("import", "chroma", "."), "is not a Chroma folder"),
        (("import", "lancedb", "."), "is not a LanceDB folder"),
        (("import", "chroma", ".", "--ids", "x"), "do not apply to Chroma"),
        (("import", "milvus", "."), "milvus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_loaded_says_why(run: Run, world: Path, argv: tuple[str, ...], said: str) -> None:
    np.save("ok.npy", matrix(3))
    np.save("wide.npy", matrix(3, 5))
    np.save("flat.npy", matrix(1)[0])
    np.save("nan.npy", matrix(3) * np.array([[1], [np.nan], [1]]))
    np.save("objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    texts = {
        "text.npy": "hello", "x.csv": "a,b\n", "few.txt": "a\nb\n", "twice.txt": "a\nb\na\n", "bad.json": "{}",
        "short.jsonl": "1\n", "long.jsonl": "1\n2\n3\n4\n", "kb.snapshot": "",
    }  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    with kedge.open(world) as k:
        before = k.seq
    failed = run(*argv)
    assert failed.code == 2
    assert said in " ".join(failed.err.split())
    with kedge.open(world) as k:
        assert k.seq - before in (0, 3)  # a superfluous line shows at the end only


# ── what needs packages ──


def test_a_missing_package_says_what_to_install(
    run_nowhere: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("chromadb", "lancedb", "pyarrow", "pyarrow.parquet", "pyarrow.ipc"):
        monkeypatch.setitem(sys.modules, module, None)
    Path("c").mkdir()
    Path("c/chroma.sqlite3").touch()
    Path("l/kb.lance").mkdir(parents=True)
    Path("x.parquet").touch()
    Path("x.arrow").touch()
    for argv, extra in (
        (("import", "chroma", "c"), "chroma"),
        (("import", "lancedb", "l"), "lancedb"),
        (("load", "kb", "x.parquet"), "arrow"),
        (("load", "kb", "x.arrow"), "arrow"),
    ):
        with kedge.open(tmp_path / "state") as k:
            k.collection("kb", dim=4)
        failed = run_nowhere(*argv, "--db", str(tmp_path / "state"))
        assert failed.code == 2
        assert f'pip install "kedge[{extra}]"' in " ".join(failed.err.split())


def a_table(pa: Any, kind: str, rows: int = 25) -> Any:
    vectors = matrix(rows)
    flat = pa.array(vectors.reshape(-1))
    lists = {
        "fixed": lambda: pa.FixedSizeListArray.from_arrays(flat, 4),
        "list": lambda: pa.array(vectors.tolist(), pa.list_(pa.float32())),
        "large": lambda: pa.array(vectors.tolist(), pa.large_list(pa.float64())),
        "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(vectors),
    }[kind]()
    meta = [json.dumps({"n": row}) for row in range(rows)]
    fields = {"id": list(range(rows)), "vector": lists, "lang": ["en"] * rows, "meta": meta, "n": np.arange(rows) / 2}
    return pa.table(fields)


@HERE
@pytest.mark.parametrize("kind", ["fixed", "list", "large", "tensor"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".arrows", ".feather"])
def test_arrow_s_files(k: kedge.Kedge, suffix: str, kind: str) -> None:
    pa = optional("pyarrow")
    table = a_table(pa, kind)
    path = Path(f"docs{suffix}")
    if suffix == ".parquet":
        optional("pyarrow.parquet").write_table(table, path, row_group_size=7)
    elif suffix == ".feather":
        optional("pyarrow.feather").write_feather(table, path, chunksize=7)
    else:
        make = pa.ipc.new_file if suffix == ".arrow" else pa.ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    k.collection("kb", dim=4)
    k.collection("fields", dim=4)
    steps: list[tuple[int, int]] = []
    report = k.load("kb", path, payload="meta", document="lang", batch=10, progress=lambda *step: steps.append(step))
    assert (report.rows, report.documents) == (25, 25)
    assert steps == [(10, 25), (20, 25), (25, 25)]
    assert stored(k, "kb") == {str(row): (matrix(25)[row].tolist(), {"n": row}) for row in range(25)}
    assert k.load("kb", path, payload="meta", document="lang", batch=10).skipped == 25
    k.load("fields", path, payload=["lang", "n"])
    assert stored(k, "fields")["3"][1] == {"lang": "en", "n": 1.5}


@HERE
def test_columns_are_found_or_asked_for(k: kedge.Kedge) -> None:
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    table = a_table(pa, "list", 3).append_column("other", a_table(pa, "list", 3).column("vector"))
    parquet.write_table(table.rename_columns(["key", "emb", "lang", "meta", "n", "emb2"]), "docs.parquet")
    k.collection("kb", dim=4)
    with pytest.raises(kedge.UnknownName, match="no column of ids 'id'; it has key, emb"):
        k.load("kb", "docs.parquet")
    with pytest.raises(kedge.InvalidValue, match="several columns of floats, emb, emb2"):
        k.load("kb", "docs.parquet", ids="key")
    with pytest.raises(kedge.UnknownName, match="did you mean 'emb2'"):
        k.load("kb", "docs.parquet", ids="key", vector="mb2")
    with pytest.raises(kedge.InvalidValue, match="not lists of floats"):
        k.load("kb", "docs.parquet", ids="key", vector="lang", payload=[])
    with pytest.raises(kedge.InvalidValue, match="holds 'en', which is not JSON"):
        k.load("kb", "docs.parquet", ids="key", vector="emb", payload="lang")
    assert k.load("kb", "docs.parquet", ids="key", vector="emb", payload=[]).rows == 3
    assert stored(k, "kb")["0"][1] is None


@HERE
def test_values_that_json_has_not(k: kedge.Kedge) -> None:
    pa, parquet = optional("pyarrow"), optional("pyarrow.parquet")
    k.collection("kb", dim=2)
    when = dt.datetime(2026, 3, 3, 9, tzinfo=dt.UTC)
    fields = {
        "id": ["a", "b"],
        "vector": [[1.0, 2.0], None],
        "when": [when, None],
        "price": [Decimal("1.50"), None],
        "score": [float("nan"), 1.0],
        "tags": [["x", "y"], []],
        "nested": [{"day": dt.date(2026, 3, 3), "took": dt.timedelta(seconds=90)}, None],
    }
    parquet.write_table(pa.table(fields), "docs.parquet")
    report = k.load("kb", "docs.parquet")
    assert (report.rows, report.vectorless) == (1, 1)
    payload = stored(k, "kb")["a"][1]
    assert payload["when"].startswith("2026-03-03T09:00:00")
    assert {name: value for name, value in payload.items() if name != "when"} == {
        "price": "1.50",
        "score": None,
        "tags": ["x", "y"],
        "nested": {"day": "2026-03-03", "took": 90.0},
    }
    parquet.write_table(pa.table({"id": ["a"], "vector": [[1.0, 2.0]], "raw": [b"\x00"]}), "raw.parquet")
    with pytest.raises(kedge.InvalidValue, match="the column 'raw' holds"):
        k.load("kb", "raw.parquet")
    parquet.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0, 2.0], [1.0]]}), "ragged.parquet")
    with pytest.raises(kedge.InvalidValue, match="the vector of 'b' has 1 dimensions, that of 'a' 2"):
        k.load("kb", "ragged.parquet")
    parquet.write_table(pa.table({"id": [None], "vector": [[1.0, 2.0]]}), "anonymous.parquet")
    with pytest.raises(kedge.InvalidValue, match="has the id None"):
        k.load("kb", "anonymous.parquet")
    Path("broken.parquet").write_bytes(Path("raw.parquet").read_bytes()[:-9])
    with pytest.raises(kedge.InvalidValue, match=r"broken.parquet cannot be read"):
        k.load("kb", "broken.parquet")
