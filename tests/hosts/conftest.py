"""What `make test` runs of this folder. `make hosts`, or pytest with this folder or a file of it, runs all.

A module's EVERYDAY are texts: `make test` runs its tests whose names hold one of them. A module without it runs whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.hookimpl(tryfirst=True)  # before -k leaves out others
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not for every day, unless this folder was asked for."""
    asked = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    if any(path.resolve().is_relative_to(HERE) for path in asked):
        return
    left_out = for_make_hosts(item for item in items if HERE in item.path.parents)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def for_make_hosts(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Return the tests that are not for every day; refuse a text that no test's name holds."""
    left_out, unmatched = set[pytest.Item](), dict[str, set[str]]()
    for item in items:
        everyday = getattr(getattr(item, "module", None), "EVERYDAY", None)
        if everyday is None:
            continue
        found = [text for text in everyday if text in item.name]
        missing = unmatched.setdefault(item.path.name, set(everyday))
        missing.difference_update(found)
        if not found:
            left_out.add(item)
    wrong = {name: texts for name, texts in unmatched.items() if texts}
    if wrong:
        raise pytest.UsageError(f"no test's name holds these texts of EVERYDAY: {wrong}")
    return left_out
