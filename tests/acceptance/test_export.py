"""Exporting: what a view shows, wholly or not at all, in files that `load` reads back to the same."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kedge
from kedge.bulk import export
from tests.acceptance.cli import Run
from tests.acceptance.rows import matrix, optional, stored

HERE = pytest.mark.usefixtures("here")
ODD = ["plain", 'quo"ted', "line\u2028separator", "ünï", "a, b"]
suffixes = pytest.mark.parametrize("suffix", [".npy", ".parquet", ".arrow", ".feather"])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def filled(k: kedge.Kedge) -> kedge.Kedge:
    """25 rows, with ids that are hard to write down; one of them deleted, one overwritten by a staged release."""
    k.collection("kb", dim=4)
    names = ODD + [f"row {n}" for n in range(20)]
    with k.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(names, matrix(25), [{"n": n, "text": names[n]} for n in range(24)] + [None])
        turn.vectors("kb").delete(["row 3"])
    k.deploy("v2", {"helper/prompt": "x"})
    with k.turn(agent="helper", deployment="v2") as turn:
        turn.vectors("kb").upsert(["plain"], matrix(1, seed=2))
    return k


def load_back(k: kedge.Kedge, path: str, collection: str) -> int:
    if path.endswith(".npy"):
        return k.load(collection, path, ids="kb.ids.json", payload="kb.jsonl").rows
    return k.load(collection, path, payload="payload").rows


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("kedge.db"))


@HERE
@suffixes
def test_what_is_exported_is_loaded_to_the_same(filled: kedge.Kedge, suffix: str) -> None:
    if suffix != ".npy":
        optional("pyarrow")
    steps: list[tuple[int, int]] = []
    report = filled.export("kb", f"kb{suffix}", batch=10, progress=lambda *step: steps.append(step))
    assert (report.collection, report.rows, report.unembedded) == ("kb", 24, 0)
    assert steps == [(10, 24), (20, 24), (24, 24)]
    assert sorted(report.files) == written(Path())
    filled.collection("again", dim=4)
    load_back(filled, f"kb{suffix}", "again")
    assert stored(filled, "again") == stored(filled, "kb")


@HERE
@suffixes
def test_a_filter_and_a_view(filled: kedge.Kedge, suffix: str) -> None:
    if suffix != ".npy":
        optional("pyarrow")
    path = f"kb{suffix}"
    report = filled.export("kb", path, where={"n": {"lt": 7}}, batch=3)
    assert report.rows == 7
    filled.collection("again", dim=4)
    assert load_back(filled, path, "again") == 7
    assert filled.export("kb", path, where={"n": 99}, overwrite=True).rows == 0
    filled.export("kb", path, view=filled.view(deployment="v2"), overwrite=True)
    filled.collection("theirs", dim=4)
    load_back(filled, path, "theirs")
    assert stored(filled, "theirs")["plain"][0] == matrix(1, seed=2)[0].tolist()


@HERE
def test_an_npy_file_is_numpy_s(filled: kedge.Kedge) -> None:
    filled.export("kb", "kb.npy", where={"n": {"lt": 3}})
    assert np.array_equal(np.load("kb.npy"), matrix(25)[:3])
    assert json.loads(Path("kb.ids.json").read_text(encoding="utf-8")) == ODD[:3]
    assert json.loads(Path("kb.jsonl").read_bytes().splitlines()[2]) == {"n": 2, "text": ODD[2]}
    filled.export("kb", "none.npy", where={"n": -1})
    assert np.load("none.npy").shape == (0, 4)
    assert json.loads(Path("none.ids.json").read_text()) == []


@HERE
def test_nothing_is_overwritten_unasked(filled: kedge.Kedge) -> None:
    Path("kb.jsonl").write_text("mine")
    with pytest.raises(kedge.InvalidValue, match=r"'kb.jsonl' already exists; choose another path"):
        filled.export("kb", "kb.npy")
    assert written(Path()) == ["kb.jsonl"]
    assert filled.export("kb", "kb.npy", overwrite=True).rows == 24
    assert Path("kb.jsonl").read_text() != "mine"


@HERE
@pytest.mark.parametrize(
    ("path", "message"),
    [("kb.csv", "has an unknown suffix"), ("no/folder/kb.npy", "cannot be written")],
)
def test_a_wrong_path_is_refused(filled: kedge.Kedge, path: str, message: str) -> None:
    with pytest.raises(kedge.InvalidValue, match=message):
        filled.export("kb", path)
    with pytest.raises(kedge.UnknownName, match="no collection is named 'kbb'"):
        filled.export("kbb", "kb.npy")
    assert written(Path()) == []


@HERE
def test_what_ends_it_half_way_leaves_nothing(filled: kedge.Kedge, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def roll_back(_done: int, _total: int) -> None:
        if filled.deployment("v2").status is not kedge.Status.ROLLED_BACK:
            filled.rollback("v2", verify=False)

    with pytest.raises(kedge.RolledBack, match="'v2' was rolled back while 'kb' was read in batches"):
        filled.export("kb", "kb.npy", view=filled.view(deployment="v2"), batch=5, progress=roll_back)
    assert written(Path()) == []
    with monkeypatch.context() as patched:
        patched.setattr(export._Npy, "write", full)
        with pytest.raises(kedge.StorageFull, match=r"no room to write 'kb\.npy'"):
            filled.export("kb", "kb.npy")
    assert written(Path()) == []
    with filled.turn(agent="clerk") as turn:
        turn.vectors("kb").upsert(["raw"], matrix(1), [b"bytes"])
    with pytest.raises(kedge.InvalidValue, match="the payload of 'raw' is 5 bytes"):
        filled.export("kb", "kb.npy")
    assert written(Path()) == []


def test_in_a_shell(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "kb.npy"
    result = run("export", "kb", str(path))
    assert result.code == 0
    assert result.out.startswith("kb: 4 rows in ")
    assert str(path) in result.out
    again = run("export", "kb", str(path), "--json")
    assert again.code == 2
    assert "exists" in again.document["error"]["message"]
    found = run(
        "export", "kb", str(path), "--overwrite", "--where", '{"lang": "en"}', "--at", "before-friday", "--json"
    )
    assert found.err == ""
    assert set(found.document["export"]) == {"collection", "rows", "unembedded", "files", "seconds"}
    assert (found.document["export"]["rows"], np.load(path).shape) == (4, (4, 4))
    assert run("export", "kb", str(path), "--overwrite", "--deployment", "support-v2").code == 0
    assert np.load(path)[:, 3].tolist() == [0, 1, 1, 1, 1]
    wrong = run("export", "kb", str(path), "--overwrite", "--where", "lang=en")
    assert wrong.code == 2
    assert "--where 'lang=en' is not valid JSON" in " ".join(wrong.err.split())
