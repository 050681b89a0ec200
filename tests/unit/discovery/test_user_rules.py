"""Rules that users write in a `kedge.toml` for their own stores."""

from pathlib import Path

import pytest

from kedge.discovery.capabilities import Capabilities
from kedge.discovery.readiness.report import readiness
from kedge.discovery.scan.rules import expanded, load_rules
from kedge.discovery.scanning import scan
from kedge.errors import InvalidValue
from kedge.reconcilers.config import read_config

OWN = """
[[discovery.bind]]
store = "our-store"
kind = "remote"
gives = "our.client"
calls = ["ourlib.{Client,AsyncClient}"]

[[discovery.write]]
on = "our.client"
methods = ["remember"]

[[discovery.capability]]
id = "our-store"
title = "Our store"
stores = ["our-store"]
capability = "none"
unit = "tenant"
granularity = "none"
restore_class = "none"
lost = "the old value"
conditions = []
source = "our runbook"
checked = 2026-11-01
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "kedge.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_own_rules_stand_beside_own_capabilities_and_reconcilers(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    rules = load_rules([path])
    assert [rule.store for rule in rules.calls("bind", "ourlib.AsyncClient")] == ["our-store"]
    assert rules.methods("write", "our.client", "remember")
    assert rules.calls("bind", "qdrant_client.QdrantClient")
    assert [entry.id for entry in Capabilities.load(path).of("our-store", "remote")] == ["our-store"]
    assert read_config(path) == {}


def test_own_rules_come_before_those_of_kedge(tmp_path: Path) -> None:
    path = write(tmp_path, '[[discovery.bind]]\nstore="x"\nkind="remote"\ncalls=["qdrant_client.**.QdrantClient"]\n')
    assert [rule.store for rule in load_rules([path]).calls("bind", "qdrant_client.QdrantClient")] == ["x", "qdrant"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[discovery.bind]]\nstore = 's'\nkind = 'far'\ncalls = ['a.B']", r"far.*bind\[0\]\.kind"),
        ("[[discovery.bind]]\nstore = 's'\nkind = 'remote'\ncall = ['a.B']", r"`call`.*bind\[0\]"),
        ("[[discovery.binds]]\nstore = 's'", "`binds`"),
        ("[[discovery.bind]]\nkind = 'remote'\ncalls = ['a.B']", "'a.B' in .*no store"),
        (
            "[[discovery.bind]]\nstore='s'\nkind='remote'\ncalls=['a.B']\nwhen=[{argument=0, matches='(a+)+$'}]",
            "repeats a",
        ),
        (
            "[[discovery.bind]]\nstore='s'\nkind='remote'\ncalls=['a.B']\nwhen=[{argument=0, matches='a*a*a*a*'}]",
            "repeats a",
        ),
        (f"[[discovery.bind]]\nstore='s'\nkind='remote'\ncalls=['{'{a,b}' * 30}']", "more than 1000 names"),
        ("discovery = 3", "discovery is 3"),
        ("[[discovery", "not valid TOML"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidValue, match=message) as caught:
        load_rules([path])
    assert str(path) in str(caught.value)


EXAMPLE = """
[[discovery.example]]
code = '''
from ourlib import Client

Client("tenant").remember("a")
'''
sites = ["3 bind our-store remote", "3 write our-store remote"]
"""


def test_an_own_rule_must_hold_in_its_own_example(tmp_path: Path) -> None:
    write(tmp_path, OWN + EXAMPLE)
    assert scan(tmp_path).sites == ()
    path = write(tmp_path, OWN.replace('["remember"]', '["recall"]') + EXAMPLE)
    with pytest.raises(InvalidValue, match=r"do not hold in its example 1: .*3 write our-store remote") as caught:
        scan(tmp_path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="cannot be read"):
        load_rules([tmp_path / "kedge.toml"])


def test_braces_stand_for_several_names() -> None:
    assert expanded("a.B") == ["a.B"]
    assert expanded("{a,b}.C{,.of}") == ["a.C", "a.C.of", "b.C", "b.C.of"]


def test_a_file_of_rules_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, f"# {'x' * 1_000_000}")
    with pytest.raises(InvalidValue, match="larger than 1 MB"):
        scan(tmp_path)
    with pytest.raises(InvalidValue, match="larger than 1 MB"):
        readiness(tmp_path, config=path)


def test_readiness_takes_the_own_file_of_each_folder_and_no_link(tmp_path: Path) -> None:
    """A link in a repository may lead anywhere."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text("from ourlib import Client\nClient('a')\n")
    write(tmp_path / "two", OWN)
    found = readiness(tmp_path / "one", tmp_path / "two")
    assert [(store.store, store.unit) for store in found.stores] == [("our-store", "tenant")]
    write(tmp_path, "[readiness]\nslo = '7m'")
    (tmp_path / "one" / "kedge.toml").symlink_to(tmp_path / "kedge.toml")
    assert readiness(tmp_path / "one").within == 300.0
    own = tmp_path / "two" / "kedge.toml"
    assert [store.store for store in readiness(tmp_path / "one", config=own).stores] == ["our-store"]
    assert scan(tmp_path / "two", rules=[own]).own == scan(tmp_path / "two").own == 3
    assert readiness(tmp_path / "one", config=tmp_path / "kedge.toml").within == 420.0
