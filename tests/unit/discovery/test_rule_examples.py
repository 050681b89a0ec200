"""Examples beside the rules: each yields exactly its sites, and each rule is needed by one."""

import functools
from collections.abc import Sequence
from importlib import resources

import pytest

from kedge.discovery.scan.javascript import lower_javascript
from kedge.discovery.scan.program import Program
from kedge.discovery.scan.python import lower_python
from kedge.discovery.scan.rules import Example, Member, Rule, RuleFile, Rules, Table, read_rules

FOLDER = resources.files("kedge.discovery.scan") / "rules"
NAMES = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".toml"))


@functools.cache
def rule_file(name: str) -> RuleFile:
    return read_rules((FOLDER / name).read_text(encoding="utf-8"), name)


@functools.cache
def all_files() -> tuple[RuleFile, ...]:
    return tuple(rule_file(name) for name in NAMES)


def found(example: Example, rules: Rules) -> list[str]:
    source = example.code.lstrip("\n").encode()
    if example.path.endswith(".py"):
        module = lower_python(example.path, source)
    else:
        module = lower_javascript(example.path, source, "typescript")
    sites = Program([module], rules).sites()
    return sorted({f"{site.line} {site.site_class} {site.store} {site.kind}" for site in sites})


EXAMPLES = [
    pytest.param(example, id=f"{name}-{number}")
    for name in NAMES
    for number, example in enumerate(rule_file(name).example, 1)
]


@functools.cache
def rules() -> Rules:
    return Rules(all_files())


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_yields_its_sites(example: Example) -> None:
    assert found(example, rules()) == sorted(example.sites)


class Recording(Rules):
    """Rules that note which of them a lookup gave."""

    def __init__(self, files: Sequence[RuleFile]) -> None:
        super().__init__(files)
        self.met: set[int] = set()

    def calls(self, table: Table, name: str) -> tuple[Rule, ...]:
        found = super().calls(table, name)
        self.met.update(map(id, found))
        return found

    def methods(self, table: Table, type_name: str, method: str) -> tuple[Rule, ...]:
        found = super().methods(table, type_name, method)
        self.met.update(map(id, found))
        return found

    def member(self, type_name: str, name: str) -> Member | None:
        found = super().member(type_name, name)
        self.met.add(id(found))
        return found


@pytest.mark.parametrize("name", NAMES)
def test_each_rule_is_met_by_an_example_of_its_file(name: str) -> None:
    file = rule_file(name)
    recording = Recording(all_files())
    for example in file.example:
        found(example, recording)
    for rule in (rule for rules in recording.attributes.values() for rule in rules):
        recording.met.add(id(rule))  # looked up by the attribute that is assigned, not by a call
    tables = ("type", "bind", "member", "write", "callback", "attach", "pin")
    entries = [(table, entry) for table in tables for entry in getattr(file, table)]
    assert not [
        f"[[{table}]] {entry.member if isinstance(entry, Member) else (entry.calls or entry.methods)} {entry.on}"
        for table, entry in entries
        if id(entry) not in recording.met and getattr(entry, "extends", ()) == ()
    ]
