"""Examples of rules: code, and the sites that the rules must find in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kedge.discovery.configuration import discovery_tables
from kedge.discovery.scan.javascript import lower_javascript
from kedge.discovery.scan.program import Program
from kedge.discovery.scan.python import lower_python
from kedge.discovery.scan.rules import Example, Rules, rules_of
from kedge.errors import InvalidValue


def sites_of(example: Example, rules: Rules) -> list[str]:
    """Return the sites of an example, each as "LINE CLASS STORE KIND"."""
    source = example.code.lstrip("\n").encode()
    if example.path.endswith(".py"):
        module = lower_python(example.path, source)
    else:
        module = lower_javascript(example.path, source, "typescript")
    sites = Program([module], rules).sites()
    return sorted({f"{site.line} {site.site_class} {site.store} {site.kind}" for site in sites})


def check_examples(files: Sequence[Path], rules: Rules) -> None:
    """Refuse rules of users that do not find what their own examples say."""
    for path in files:
        for number, example in enumerate(rules_of(discovery_tables(path), str(path)).example, 1):
            found, wanted = sites_of(example, rules), sorted(example.sites)
            if found != wanted:
                raise InvalidValue(
                    f"the rules of {path} do not hold in its example {number}: it has the sites {wanted}, and the "
                    f"rules find {found}; correct the rules, or the example"
                )
