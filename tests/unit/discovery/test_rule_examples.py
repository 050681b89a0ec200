"""Examples beside the rules: each yields exactly its sites, and each rule is needed by one."""

import functools
from importlib import resources

import pytest

from kedge.discovery.scan.examples import sites_of
from kedge.discovery.scan.rules import TABLES, Member, Rule, RuleFile, Rules, Table, read_rules

FOLDER = resources.files("kedge.discovery.scan") / "rules"
NAMES = sorted(item.name for item in FOLDER.iterdir() if item.name.endswith(".toml"))


@functools.cache
def rule_file(name: str) -> RuleFile:
    return read_rules((FOLDER / name).read_text(encoding="utf-8"), name)


EXAMPLES = [
    pytest.param(name, number, id=f"{name}-{number + 1}")
    for name in NAMES
    for number in range(len(rule_file(name).example))
]


class Recording(Rules):
    """Rules that note which of them a lookup gave."""

    met: set[int]

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


@functools.cache
def all_rules() -> Recording:
    return Recording([rule_file(name) for name in NAMES])


@functools.cache
def results(name: str) -> tuple[list[list[str]], frozenset[int]]:
    """Return the sites of each example of a file, and which rules they met."""
    rules = all_rules()
    rules.met = set()
    sites = [sites_of(example, rules) for example in rule_file(name).example]
    return sites, frozenset(rules.met)


@pytest.mark.parametrize(("name", "number"), EXAMPLES)
def test_an_example_yields_its_sites(name: str, number: int) -> None:
    assert results(name)[0][number] == sorted(rule_file(name).example[number].sites)


@pytest.mark.parametrize("name", NAMES)
def test_each_rule_is_met_by_an_example_of_its_file(name: str) -> None:
    file, met = rule_file(name), results(name)[1]
    by_attribute = {id(rule) for rules in all_rules().attributes.values() for rule in rules}
    for table in (*TABLES, "member"):
        for entry in getattr(file, table):
            needed = isinstance(entry, Member) or not entry.extends
            assert id(entry) in met or id(entry) in by_attribute or not needed, f"[[{table}]] {entry}"
