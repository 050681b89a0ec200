"""Capability table of stores: what an entry must say, which entry is about a store, and what users add."""

import datetime as dt
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from kedge.discovery.capabilities import Capabilities, is_stale
from kedge.discovery.sites import StateKind
from kedge.errors import InvalidValue

OWN = {
    "id": "own",
    "title": "Our store",
    "stores": ["our-store"],
    "capability": "snapshot",
    "unit": "tenant",
    "granularity": "nightly",
    "restore_class": "minutes",
    "lost": "later writes of the tenant",
    "conditions": ["from version 4"],
    "source": "our runbook",
    "checked": "2026-11-01",
}


@pytest.fixture(scope="module")
def table() -> Capabilities:
    return Capabilities.load()


def write(folder: Path, *entries: dict[str, Any]) -> Path:
    lines = []
    for entry in entries:
        lines.append("[[discovery.capability]]")
        lines += [f"{key} = {value if key == 'checked' else repr(value)}" for key, value in entry.items()]
    path = folder / "kedge.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_every_entry_has_a_source_a_date_and_its_conditions() -> None:
    text = resources.files("kedge.discovery").joinpath("capabilities.toml").read_text(encoding="utf-8")
    for entry in tomllib.loads(text)["capability"]:
        assert entry["source"].strip()
        assert isinstance(entry["checked"], dt.date)
        assert isinstance(entry["conditions"], list)
        assert entry.get("verified", True) or "restore_rows_per_second" not in entry


@pytest.mark.parametrize("field", ["source", "checked", "conditions", "lost", "capability", "stores"])
def test_an_entry_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    path = write(tmp_path, {key: value for key, value in OWN.items() if key != field})
    with pytest.raises(InvalidValue, match=rf"kedge.toml: capability 1 .*{field}"):
        Capabilities.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": " "}, "has an empty source"),
        ({"stores": []}, "is about no store"),
        (
            {"capability": "magic"},
            "invalid capability .magic.: must be none, copy, backup, ",
        ),
        ({"restore_class": "days"}, "invalid restore_class .days.: must be instant, "),
        ({"kind": ["remote"]}, "unknown field `kind`"),
    ],
)
def test_a_wrong_entry_is_refused_with_file_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, OWN | change)
    with pytest.raises(InvalidValue, match=rf"kedge.toml: capability 1 \('own'\).*{message}"):
        Capabilities.load(path)


def test_an_id_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="'own' is there twice"):
        Capabilities.load(write(tmp_path, OWN, OWN))


@pytest.mark.parametrize(
    ("store", "kind", "ids"),
    [
        ("qdrant", "embedded", ["qdrant-local"]),
        ("qdrant", "volatile", ["process-memory"]),
        ("milvus", "remote", ["milvus-2", "milvus-3"]),
        ("lg-saver:memory", "volatile", ["langgraph-saver-memory"]),
        ("lg-saver:sqlite", "embedded", ["langgraph-saver"]),
        ("lg-saver:*", "config", ["langgraph-saver"]),
        ("file:cache", "embedded", ["disk-cache"]),
        ("never-heard-of", "embedded", ["plain-files"]),
        ("never-heard-of", "remote", []),
        ("openai-thread", "provider", ["openai-assistants"]),
        ("kedge", "embedded", ["kedge"]),
    ],
)
def test_entries_of_a_store(table: Capabilities, store: str, kind: StateKind, ids: list[str]) -> None:
    assert [entry.id for entry in table.of(store, kind)] == ids


def test_only_kedge_reverts_by_deployment(table: Capabilities) -> None:
    assert [entry.id for entry in table.entries if entry.by_deployment] == ["kedge"]


def test_entries_past_twelve_months_are_stale(table: Capabilities) -> None:
    checked = min(entry.checked for entry in table.entries)
    assert not is_stale(checked, checked + dt.timedelta(days=365))
    assert is_stale(checked, checked + dt.timedelta(days=366))


def test_users_add_and_replace_entries(tmp_path: Path) -> None:
    table = Capabilities.load(write(tmp_path, OWN, OWN | {"id": "qdrant-server", "stores": ["qdrant"]}))
    assert [entry.title for entry in table.of("our-store", "remote")] == ["Our store"]
    assert [entry.title for entry in table.of("qdrant", "remote")] == ["Our store", "Qdrant Cloud"]


def test_an_entry_of_users_goes_before_a_shipped_one(tmp_path: Path) -> None:
    table = Capabilities.load(write(tmp_path, OWN | {"stores": ["qdrant"]}))
    assert [entry.id for entry in table.of("qdrant", "remote")] == ["own", "qdrant-server", "qdrant-cloud"]


def test_a_file_without_capabilities_changes_nothing(tmp_path: Path, table: Capabilities) -> None:
    path = tmp_path / "kedge.toml"
    path.write_text("[reconcilers.x]\n", encoding="utf-8")
    assert Capabilities.load(path) == table
