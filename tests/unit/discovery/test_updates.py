"""Rows that are changed by assignment and committed."""

import pytest

from tests.unit.discovery.programs import found

HEAD = (
    "import settings\nfrom boxdb import Client\nfrom lib import Web\n\nclient = Client('u')\n\ndef go(x, web: Web):\n"
)


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        ("row = client.get(x)\n    row.a = 1\n    client.commit()", [10]),
        ("row = client.get(x)\n    setattr(row, 'a', 1)\n    client.commit()", [10]),
        ("for row in client.all():\n        row.a += 1\n    client.commit()\n    client.commit()", [10]),
        ("x.a = 1\n    client.commit()\n    client.put(x)\n    client.commit()", [9, 10]),
        ("row = client.get(x)\n    row.a = 1\n    client.put([row])\n    client.commit()", [10]),
        ("x.a = 1\n    client.put(x)\n    client.commit()", [9]),
        ("x.a = 1\n    client.put([x])\n    client.commit()", [9]),
        ("row = client.get(x)\n    client.put(1)\n    row.a = 1\n    client.commit()", [9, 11]),
        ("client.put(1)\n    x.a = 1\n    client.commit()", [8, 10]),
        ("x.a = 1\n    client.put(Row(a=x.a))\n    client.commit()", [9]),
        ("row = client.get(x)\n    client.commit()\n    row.a = 1", []),
        ("settings.a = 1\n    client.commit()", []),
        ("import inner\n    inner.a = 1\n    client.commit()", []),
        ("web.status = 1\n    client.commit()", []),
        ("made = Web()\n    made.status = 1\n    client.commit()", []),
        ("other = client.table('t')\n    other.a = 1\n    client.commit()", []),
    ],
)
def test_a_commit_after_an_assignment_to_a_row_is_a_write(body: str, lines: list[int]) -> None:
    sites = [site for site in found({"use.py": f"{HEAD}    {body}\n"}) if " write " in site]
    assert sites == [f"use.py:{line} write box remote go" for line in lines]


def test_a_function_that_changes_a_row_is_a_writer() -> None:
    files = {
        "rows.py": f"{HEAD}    row = client.get(x)\n    row.a = 1\n    client.commit()\n",
        "use.py": "from rows import go\n\ngo(1, None)\n",
    }
    assert found(files)[-1] == "use.py:3 write box remote <module>"
