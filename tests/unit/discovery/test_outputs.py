"""Documents of a scan: equal files give equal bytes, moved code is no new finding, and readers find what they need."""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kedge.discovery.capabilities import Capabilities
from kedge.discovery.cyclonedx import cyclonedx
from kedge.discovery.document import document
from kedge.discovery.fingerprints import baseline_of, decode_baseline, encode_baseline, fingerprint, numbered
from kedge.discovery.map import context_map
from kedge.discovery.sarif import sarif
from kedge.discovery.scan.infra.env import Setting
from kedge.discovery.scanning import Scan, merge, scan
from kedge.discovery.selecting import resolved, with_settings
from kedge.discovery.sites import Evidence, Selector, Site, Unparsed
from kedge.discovery.stores import store_of, stores_of
from kedge.errors import InvalidValue

SITES = merge([
    Site("src/a b.py", 12, "bind", "qdrant", "remote", "open_it",
         evidence=(Evidence("QdrantClient", "src/a b.py", 12),),
         selector=Selector("env", "MODE", "big", alternatives=("faiss", "qdrant"))),
    Site("src/a b.py", 20, "write", "qdrant", "config", "Index.add"),
    Site("src/a b.py", 30, "write", "qdrant", "config", "Index.add"),
    Site("src/c.py", 3, "bind", "proc-global", "volatile", "<module>"),
    Site("n.ipynb:cell2", 4, "bind", "faiss", "embedded", "<module>", confidence="low"),
    Site("compose.yml", 3, "decl", "qdrant", "remote", "", target="vectors"),
    Site("x.py", 1, "bind", "our-own-store", "remote", "f"),
])  # fmt: skip
SCAN = Scan(
    root="app",
    sites=SITES,
    stores=stores_of(SITES, Capabilities.load()),
    unparsed=(Unparsed("bad.py", "syntax errors", (3,)),),
    digest="00",
    files=5,
    lines=100,
)


def _moved(site: Site, **changes: Any) -> Site:
    return msgspec.structs.replace(site, **changes)


# ---------------------------------------------------------------- stores


def test_what_cannot_be_taken_back_stands_first() -> None:
    ranks = [store.rank for store in SCAN.stores]
    assert ranks == sorted(ranks)
    assert [store.name for store in SCAN.stores] == ["faiss", "proc-global", "our-own-store", "qdrant"]
    assert [store.capability for store in SCAN.stores] == ["none", "none", "unknown", "snapshot"]
    qdrant = SCAN.stores[-1]
    assert qdrant.sites == {"bind": 1, "write": 2, "decl": 1}
    assert qdrant.kinds == ("config", "remote")


def test_what_no_agent_reads_back_stands_behind_the_state_of_agents() -> None:
    sites = [
        Site("a.py", 1, "write", "file:config", "embedded", "setup"),
        Site("a.py", 2, "bind", "lg-saver:memory", "volatile", "graph"),
        Site("a.py", 3, "bind", "qdrant", "remote", "graph"),
    ]
    names = [store.name for store in stores_of(sites, Capabilities.load())]
    assert names == ["lg-saver:memory", "file:config", "qdrant"]


def test_kinds_of_a_family_that_go_back_differently_are_two_stores() -> None:
    both = [_moved(SITES[0], kind="embedded"), _moved(SITES[0], kind="volatile"), *SITES]
    stores = stores_of(both, Capabilities.load())
    qdrant = [store for store in stores if store.name == "qdrant"]
    assert [(store.key, store.kinds) for store in qdrant] == [
        ("qdrant/process-memory", ("config", "volatile")),
        ("qdrant/qdrant-local", ("embedded",)),
        ("qdrant/qdrant-server", ("remote",)),
    ]
    assert [store_of(site, stores).key for site in both[:2]] == ["qdrant/qdrant-local", "qdrant/process-memory"]
    assert sum(sum(store.sites.values()) for store in stores) == len(both)


# ---------------------------------------------------------------- fingerprints and baselines


def test_a_fingerprint_is_of_store_and_function_not_of_the_line_or_file() -> None:
    site = Site("a.py", 1, "write", "qdrant", "remote", "f")
    assert fingerprint(site) == fingerprint(_moved(site, line=9, path="b.py", kind="config", evidence=()))
    for changes in ({"store": "faiss"}, {"function": "g"}, {"site_class": "bind"}):
        assert fingerprint(site) != fingerprint(_moved(site, **changes))
    declared = Site("compose.yml", 1, "decl", "redis", "remote", "", target="cache")
    assert fingerprint(declared) == fingerprint(_moved(declared, line=5))
    assert fingerprint(declared) != fingerprint(_moved(declared, target="queue"))
    module = Site("a.py", 1, "bind", "proc-global", "volatile", "<module>")
    assert fingerprint(module) != fingerprint(_moved(module, path="b.py"))


def test_equal_fingerprints_are_numbered() -> None:
    marks = numbered(SITES)
    assert len(set(marks)) == len(marks)
    twice = [mark for site, mark in zip(SITES, marks, strict=True) if site.function == "Index.add"]
    assert [mark.partition(":")[2] for mark in twice] == ["1", "2"]
    assert twice[0].partition(":")[0] == twice[1].partition(":")[0]


def test_a_baseline_knows_moved_code_and_counts_what_is_added() -> None:
    known = decode_baseline(encode_baseline(baseline_of(SITES)), "b.json")
    moved = merge(_moved(site, line=site.line + 100) for site in SITES)
    assert not any(known.new(moved))
    added = merge([*SITES, Site("src/z.py", 8, "write", "qdrant", "config", "Index.add")])
    assert [site.path for site, new in zip(added, known.new(added), strict=True) if new] == ["src/z.py"]
    assert not any(known.new(SITES[2:]))
    assert all(baseline_of([]).new(SITES))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"version": 99, "sites": []}', b'{"x": ' + b"[" * 100_000]
)
def test_another_file_is_no_baseline(content: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"b\.json"):
        decode_baseline(content, "b.json")


# ---------------------------------------------------------------- SARIF


def test_sarif_has_the_parts_that_its_schema_requires() -> None:
    (run,) = _plain(sarif(SCAN, version="1"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted(rule["id"] for rule in rules)
    assert len({rule["id"] for rule in rules}) == len(rules) == 4
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["message"]["text"].endswith(".")
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert not re.search(r"[ :\\]|^/", place["artifactLocation"]["uri"])
        assert place.get("region", {"startLine": 1})["startLine"] >= 1
    levels = {result["ruleId"]: result["level"] for result in run["results"]}
    assert levels == {
        "state/faiss/faiss": "error", "state/proc-global/process-memory": "error",
        "state/our-own-store/unknown": "warning", "state/qdrant/qdrant-server": "note",
    }  # fmt: skip
    marks = [result["partialFingerprints"]["kedgeStoreFunction/v1"] for result in run["results"]]
    assert len(set(marks)) == len(marks) == len(SITES)
    (notebook,) = [result for result in run["results"] if result["ruleId"] == "state/faiss/faiss"]
    assert "region" not in notebook["locations"][0]["physicalLocation"]
    assert "Cell 2, line 4" in notebook["message"]["text"]
    assert run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "syntax errors"


def test_sarif_says_what_is_new() -> None:
    states = [
        result["baselineState"] for result in sarif(SCAN, [True] + [False] * 6, version="1")["runs"][0]["results"]
    ]
    assert states == ["new"] + ["unchanged"] * 6
    assert "baselineState" not in sarif(SCAN, version="1")["runs"][0]["results"][0]


# ---------------------------------------------------------------- CycloneDX


def test_cyclonedx_has_the_parts_that_its_schema_requires() -> None:
    found = _plain(cyclonedx(SCAN, version="1"))
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert uuid.UUID(found["serialNumber"].removeprefix("urn:uuid:")).version == 8
    assert [part["name"] for part in found["components"]] == ["faiss", "our-own-store", "proc-global", "qdrant"]
    assert [part["name"] for part in found["services"]] == ["our-own-store", "qdrant"]
    refs = [part["bom-ref"] for part in (*found["components"], *found["services"])]
    assert len(refs) == len(set(refs))
    for part in (*found["components"], *found["services"]):
        assert all(each["name"].startswith("kedge:") and isinstance(each["value"], str) for each in part["properties"])
    places = [
        (each["location"], each["line"]) for part in found["components"] for each in part["evidence"]["occurrences"]
    ]
    assert sorted(places) == sorted((site.path, site.line) for site in SITES)
    assert {each["flow"] for part in found["services"] for each in part["data"]} == {"bi-directional", "unknown"}


def test_the_serial_number_is_of_the_content() -> None:
    other = msgspec.structs.replace(SCAN, sites=SITES[1:], root="elsewhere")
    assert (
        cyclonedx(SCAN, version="1")["serialNumber"]
        == cyclonedx(msgspec.structs.replace(SCAN, root="x"), version="1")["serialNumber"]
    )
    assert cyclonedx(SCAN, version="1")["serialNumber"] != cyclonedx(other, version="1")["serialNumber"]


# ---------------------------------------------------------------- JSON


def test_the_document_has_a_field_for_each_part_of_a_site() -> None:
    found = _plain(document(SCAN))
    site = next(each for each in found["sites"] if each["class"] == "bind" and each["store"] == "qdrant")
    assert site == {
        "path": "src/a b.py", "line": 12, "class": "bind", "store": "qdrant", "kind": "remote", "function": "open_it",
        "selector": "env(MODE)=big", "default": False, "alternatives": ["faiss", "qdrant"], "target": "",
        "evidence": [{"text": "QdrantClient", "path": "src/a b.py", "line": 12, "is_fault": False}],
        "confidence": "high",
        "fingerprint": numbered(SITES)[SITES.index(next(s for s in SITES if s.line == 12))],
    }  # fmt: skip
    assert found["unparsed"] == [{"path": "bad.py", "reason": "syntax errors", "lines": [3]}]
    assert "root" not in found
    assert [each["new"] for each in document(SCAN, [True] * 7)["sites"]] == [True] * 7


APP = {
    "app.py": "from qdrant_client import QdrantClient\nclient = QdrantClient(path='x')\nclient.upsert('c', [])\n",
    "bad.py": "def (:\n",
    "compose.yml": "services:\n  v:\n    image: qdrant/qdrant\n",
    "web/index.ts": 'import {QdrantClient} from "@qdrant/js-client-rest"\nconst c = new QdrantClient({url: "u"})\n',
}


def _write(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(APP[name])
    return root


@pytest.mark.parametrize(
    "make", [document, partial(sarif, version="1"), partial(cyclonedx, version="1")], ids=["json", "sarif", "cyclonedx"]
)
def test_equal_files_give_equal_bytes(tmp_path: Path, make: Callable[[Scan], object]) -> None:
    one = scan(_write(tmp_path / "one", list(APP)))
    two = scan(_write(tmp_path / "elsewhere" / "two", list(reversed(APP))))
    assert len(one.sites) == 4
    assert msgspec.json.encode(make(one)) == msgspec.json.encode(make(two))


def test_the_order_of_hashes_does_not_show(tmp_path: Path) -> None:
    _write(tmp_path / "app", list(APP))
    code = "import sys, msgspec; from kedge.discovery.scanning import scan\n"
    code += "from kedge.discovery.document import document\n"
    code += "sys.stdout.buffer.write(msgspec.json.encode(document(scan(sys.argv[1]))))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "app") if seed == "1" else "app"],
            cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1
    assert len(json.loads(outputs.pop())["sites"]) == 4


# ---------------------------------------------------------------- scanning


def test_one_site_a_place_class_and_store_is_kept_with_what_is_known_most() -> None:
    bare = Site("a.py", 1, "bind", "qdrant", "config", "f")
    chosen = _moved(bare, kind="remote", selector=Selector("env", "M"))
    other = _moved(bare, store="faiss")
    assert merge([bare, chosen, other, bare]) == (other, chosen)
    assert merge([chosen, bare]) == (chosen,)


def test_a_vague_store_gives_way_to_a_member_at_the_same_place() -> None:
    sql = Site("a.py", 1, "write", "sql", "remote", "f")
    postgres, elsewhere = _moved(sql, store="postgres"), _moved(sql, line=2)
    assert merge([sql, postgres, elsewhere]) == (postgres, elsewhere)
    saver, store = _moved(sql, store="lg-saver:*"), _moved(sql, store="lg-store:memory")
    assert merge([saver, store]) == (saver, store)
    assert merge([saver, _moved(sql, store="lg-saver:sqlite")]) == (_moved(sql, store="lg-saver:sqlite"),)


def test_settings_say_what_selects_and_hide_other_values() -> None:
    site = Site("a.py", 1, "bind", "x", "remote", "f", Selector("env", "MODE", "big"))
    url = _moved(site, selector=Selector("env", "URL"))
    settings = [Setting("MODE", "BIG", ".env", 2), Setting("URL", "sk-secret", ".env", 3), Setting("Z", "1", ".env", 4)]
    (first, second) = with_settings([site, url], settings)
    assert [each.text for each in first.evidence] == [".env sets MODE to BIG"]
    assert [each.text for each in second.evidence] == [".env sets URL"]


def _chosen(variables: dict[str, str]) -> list[str]:
    two, three = ("faiss", "qdrant"), ("chroma embedded", "chroma remote")
    places = ("chroma at b.py:1", "chroma at b.py:2")
    sites = [
        Site("a.py", 1, "bind", "qdrant", "remote", "f", Selector("env", "MODE", "big", alternatives=two)),
        Site("a.py", 2, "bind", "faiss", "embedded", "f", Selector("env", "MODE", None, True, two)),
        Site("b.py", 1, "bind", "chroma", "remote", "f", Selector("env", "CLOUD", None, False, three)),
        Site("b.py", 2, "bind", "chroma", "embedded", "f", Selector("env", "CLOUD", None, True, three)),
        Site("b.py", 3, "write", "chroma", "config", "f", Selector("env", "CLOUD", None, False, three)),
        Site("b.py", 4, "write", "chroma", "remote", "f", Selector("env", "CLOUD", None, False, places)),
        Site("c.py", 1, "bind", "redis", "remote", "f", Selector("config", "MODE", "big", alternatives=two)),
    ]
    return [f"{site.path[0]}{site.line}" for site in resolved(sites, variables)]


def test_variables_decide_between_alternatives() -> None:
    assert _chosen({}) == ["a1", "a2", "b1", "b2", "b3", "b4", "c1"]
    assert _chosen({"MODE": "BIG"}) == ["a1", "b1", "b2", "b3", "b4", "c1"]
    assert _chosen({"MODE": "small"}) == ["a2", "b1", "b2", "b3", "b4", "c1"]
    assert _chosen({"MODE": ""}) == ["a2", "b1", "b2", "b3", "b4", "c1"]
    assert _chosen({"CLOUD": "true"}) == ["a1", "a2", "b1", "b3", "b4", "c1"]
    assert _chosen({"CLOUD": "0"}) == ["a1", "a2", "b2", "b3", "b4", "c1"]
    (site,) = resolved(
        [Site("a.py", 1, "bind", "x", "remote", "f", Selector("env", "A", "b", False, ("x", "y")))], {"A": "b"}
    )
    assert site.selector == Selector("env", "A", "b")


def test_results_are_kept_until_files_rules_or_variables_change(tmp_path: Path) -> None:
    root, cache = _write(tmp_path / "app", list(APP)), tmp_path / "cache"
    first = scan(root, cache=cache)
    (kept,) = cache.iterdir()
    assert scan(root, cache=cache) == first
    kept.write_bytes(kept.read_bytes().replace(b"app.py", b"ppa.py"))
    assert "ppa.py" in {site.path for site in scan(root, cache=cache).sites}  # it is read back, not found again
    kept.write_bytes(b"damaged")
    assert scan(root, cache=cache) == first
    (root / "app.py").write_text("")
    assert len(scan(root, cache=cache).sites) == 2
    (tmp_path / "v.env").write_text("A=1")
    (root / "kedge.toml").write_text("")
    scan(root, cache=cache)
    scan(root, cache=cache, env=[tmp_path / "v.env"])
    assert len(list(cache.iterdir())) == 4
    assert scan(root, cache=tmp_path / "v.env" / "no folder") == scan(root)


def test_rules_of_the_scanned_folder_and_of_the_caller_are_read(tmp_path: Path) -> None:
    root = tmp_path / "app"
    root.mkdir()
    (root / "a.py").write_text("import ours\nours.Store()\nours.Other()\n")
    rule = "[[discovery.bind]]\ncalls = ['ours.{0}']\nstore = 'ours-{0}'\nkind = 'remote'\n"
    (root / "kedge.toml").write_text(rule.format("Store"))
    (tmp_path / "more.toml").write_text(rule.format("Other"))
    assert [site.store for site in scan(root).sites] == ["ours-Store"]
    assert [site.store for site in scan(root, rules=[tmp_path / "more.toml"]).sites] == ["ours-Store", "ours-Other"]
    (root / "kedge.toml").rename(tmp_path / "kedge.toml")
    (root / "kedge.toml").symlink_to(tmp_path / "kedge.toml")
    assert scan(root).sites == ()


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import os\nfrom qdrant_client import QdrantClient\nQdrantClient(url='https://me:hunter22@host/db')\n"
        "def of_tenant():\n"
        "    if os.environ['TENANT'] == 'sk-proj-0123456789abcdef01234567':\n"
        "        return QdrantClient(path='one')\n"
        "    return QdrantClient(path='two')\n"
    )
    found = scan(tmp_path)
    shown = document(found), sarif(found, version="1"), cyclonedx(found, version="1"), context_map(scans=[found])
    for each in shown:
        text = msgspec.json.encode(each).decode()
        assert "env(TENANT)" in text
        assert "hunter22" not in text
        assert "sk-proj" not in text
    assert "host/db" in json.dumps(shown[0])


def _plain(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))
