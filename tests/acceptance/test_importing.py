"""Importing from other databases: all rows come, with their payloads, and nothing is written to where they were.

Reading Chroma and LanceDB needs packages too large for every test run: `make imports` installs them.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from tests.acceptance.cli import Run
from tests.acceptance.rows import matrix, optional, stored

HERE = pytest.mark.usefixtures("here")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# ── Qdrant ──

POINTS: list[dict[str, Any]] = [
    {"id": 1, "vector": [1.0, 0.0], "payload": {"lang": "en", "text": "one"}},
    {"id": "5c56c793-69f3-4fbf-87e6-c4bf54c28c26", "vector": [0.0, 1.0], "payload": {"lang": "de"}},
    {"id": 3, "vector": {}, "payload": None},
    {"id": 4, "vector": [1.0, 1.0], "payload": None},
]


@HERE
@pytest.mark.parametrize("form", ["lines", "answers", "answer", "list", "pretty"])
def test_a_qdrant_export(run_nowhere: Run, form: str) -> None:
    answers = [{"result": {"points": POINTS[start : start + 2]}, "status": "ok"} for start in (0, 2)]
    text = {
        "lines": "".join(json.dumps(point) + "\n" for point in POINTS),
        "answers": "".join(json.dumps(answer) + "\n\n" for answer in answers),
        "answer": json.dumps({"result": {"points": POINTS, "next_page_offset": None}}),
        "list": json.dumps(POINTS),
        "pretty": json.dumps({"points": POINTS}, indent=1),
    }[form]
    Path("kb.json").write_text(text)
    dry = run_nowhere("import", "qdrant", "kb.json", "--dry-run", "--json").document
    assert dry == {
        "imports": [
            {"source": "kb", "collection": "kb", "rows": 4, "dim": 2, "metric": "cosine", "exists": False, "load": None}
        ],
        "dry_run": True,
    }
    assert not Path(".kedge").exists()
    done = run_nowhere("import", "qdrant", "kb.json", "--document", "text", "--batch", "3", "--into", "mine")
    assert done.code == 0, done.err
    assert "mine: 3 rows in " in done.out
    assert "1 row skipped: no vector" in done.out
    assert (
        "3 rows skipped"
        in run_nowhere("import", "qdrant", "kb.json", "--document", "text", "--batch", "3", "--into", "mine").out
    )
    with kedge.open(".kedge") as k:
        rows = stored(k, "mine")
        assert rows["1"] == ([1.0, 0.0], {"lang": "en"})
        assert rows[str(POINTS[1]["id"])] == ([0.0, 1.0], {"lang": "de"})
        assert k.view().documents("mine").items() == {"1": "one"}
        assert k.view().vectors("mine").search([1, 0.1], k=1)[0].id == "1"


@HERE
def test_one_of_a_qdrant_point_s_vectors_is_chosen(run_nowhere: Run) -> None:
    vector = {
        "title": [1.0, 2.0],
        "body": [1.0, 2.0, 3.0],
        "sparse": {"indices": [1], "values": [0.5]},
        "late": [[1.0]],
    }
    Path("kb.jsonl").write_text(json.dumps({"id": 1, "vector": vector}))
    refused = run_nowhere("import", "qdrant", "kb.jsonl")
    assert refused.code == 2
    assert "have the vectors 'body', 'title'" in " ".join(refused.err.split())
    assert run_nowhere("import", "qdrant", "kb.jsonl", "--vector", "titel").code == 2
    done = run_nowhere("import", "qdrant", "kb.jsonl", "--vector", "body", "--metric", "l2", "--json").document
    assert (done["imports"][0]["dim"], done["imports"][0]["metric"], done["imports"][0]["load"]["rows"]) == (3, "l2", 1)
    other = run_nowhere("import", "qdrant", "kb.jsonl", "--vector", "body", "--metric", "dot")
    assert other.code == 2
    assert "give --metric l2 to accept the metric" in " ".join(other.err.split())
    Path("bare.jsonl").write_text('{"id": 1, "payload": {}}\n')
    assert "with_vector" in run_nowhere("import", "qdrant", "bare.jsonl").err


# ── what needs packages ──


def unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


def digests(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@HERE
@pytest.mark.filterwarnings("ignore")  # chromadb's own
def test_a_chroma_folder(run_nowhere: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    chromadb = optional("chromadb")
    client = chromadb.PersistentClient("theirs", settings=chromadb.Settings(anonymized_telemetry=False))
    handbook = client.create_collection("handbook", metadata={"hnsw:space": "cosine"})
    vectors = matrix(1500)
    ids = [f"d{row}" for row in range(1500)]
    metadatas = [{"n": row, "lang": "en", "ok": True} for row in range(1500)]
    handbook.add(ids=ids, embeddings=vectors, metadatas=metadatas, documents=[f"text {row}" for row in range(1500)])
    handbook.delete(["d7"])
    client.create_collection("links", configuration={"hnsw": {"space": "ip"}}).add(ids=["a"], embeddings=[[1.0, 2.0]])
    client.create_collection("empty")
    before = digests(Path("theirs"))
    opened: list[str] = []
    real = chromadb.PersistentClient

    def spy(path: str, **given: Any) -> Any:
        opened.append(path)
        return real(path, **given)

    monkeypatch.setattr(chromadb, "PersistentClient", spy)
    dry = run_nowhere("import", "chroma", "theirs", "--dry-run", "--json").document["imports"]
    assert [(t["source"], t["rows"], t["dim"], t["metric"]) for t in dry] == [
        ("empty", 0, None, "l2"), ("handbook", 1499, 4, "cosine"), ("links", 1, 2, "dot"),
    ]  # fmt: skip
    done = run_nowhere("import", "chroma", "theirs", "--batch", "400", "--json")
    assert done.code == 0, done.err
    loads = [target["load"] for target in done.document["imports"]]
    assert loads[0] is None
    assert [(load["rows"], load["documents"]) for load in loads[1:]] == [(1499, 1499), (1, 0)]
    again = run_nowhere("import", "chroma", "theirs", "--batch", "400", "--collection", "handbook", "--json").document
    assert [target["load"]["skipped"] for target in again["imports"]] == [1499]
    assert run_nowhere("import", "chroma", "theirs", "--collection", "handbok").code == 2
    assert digests(Path("theirs")) == before
    assert opened
    assert not [path for path in opened if Path(path).resolve() == Path("theirs").resolve() or Path(path).exists()]
    with kedge.open(".kedge") as k:
        assert [(c.name, c.dim, c.metric) for c in k.collections()] == [("handbook", 4, "cosine"), ("links", 2, "dot")]
        rows = stored(k, "handbook")
        assert sorted(rows) == sorted(set(ids) - {"d7"})
        for row in set(range(0, 1500, 9)) - {7}:
            vector, payload = rows[f"d{row}"]  # for cosine, Chroma keeps vectors of length 1
            assert np.allclose(unit(np.array(vector)), unit(vectors[row]), atol=1e-6)
            assert payload == metadatas[row]
        assert k.view().documents("handbook").get("d3") == "text 3"
        mine = [hit.id for hit in k.view().vectors("handbook").search(vectors[7], k=5)]
    assert mine == handbook.query(query_embeddings=[vectors[7]], n_results=5)["ids"][0]


@HERE
@pytest.mark.filterwarnings("ignore")  # lancedb's own
def test_a_lancedb_folder(run_nowhere: Run) -> None:
    pa, lancedb = optional("pyarrow"), optional("lancedb")
    database = lancedb.connect("theirs")
    vectors = matrix(600)
    fields = {"id": list(range(600)), "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 4)}
    table = database.create_table("handbook", pa.table(fields | {"lang": ["en"] * 600, "text": ["t"] * 600}))
    table.delete("id = 7")
    database.create_table("odd", pa.table({"name": ["a"], "emb": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))}))
    before = digests(Path("theirs"))
    assert "no column of ids 'id'" in run_nowhere("import", "lancedb", "theirs").err
    argv = ("import", "lancedb", "theirs", "--collection", "handbook", "--document", "text", "--batch", "250")
    assert run_nowhere(*argv, "--dry-run").code == 0
    assert not Path(".kedge").exists()
    deployed = ("--deployment", "spring", "--stage", "--into", "kb", "--json")
    target = run_nowhere(*argv, *deployed).document["imports"][0]
    assert (target["load"]["rows"], target["load"]["documents"], target["metric"]) == (599, 599, "l2")
    assert run_nowhere(*argv, *deployed).document["imports"][0]["load"]["skipped"] == 599
    odd = run_nowhere("import", "lancedb", "theirs", "--collection", "odd", "--ids", "name", "--json").document
    assert odd["imports"][0]["load"]["rows"] == 1
    assert digests(Path("theirs")) == before
    with kedge.open(".kedge") as k:
        assert stored(k, "kb") == {}
        k.promote("spring")
        assert stored(k, "kb")["3"] == (vectors[3].tolist(), {"lang": "en"})
        mine = [hit.id for hit in k.view().vectors("kb").search(vectors[7], k=5)]
        assert mine == [str(row["id"]) for row in table.search(vectors[7]).limit(5).to_list()]
        k.rollback("spring")
        assert (stored(k, "kb"), k.view().documents("kb").count()) == ({}, 0)
