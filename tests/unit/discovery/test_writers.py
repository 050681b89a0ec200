"""Functions of the repository that write, and calls of them."""

import pytest

from tests.unit.discovery.programs import found

STORE = "from boxdb import Client\n\nclient = Client('u')\n\n"


def writes(files: dict[str, str]) -> list[str]:
    """Return the writes as "path:line function"."""
    return [f"{each.split()[0]} {each.split()[-1]}" for each in found(files) if " write " in each]


@pytest.mark.parametrize(
    ("wrapper", "use"),
    [
        ("def save(x):\n    client.put(x)\n", "from store import save\n\nsave(1)\n"),
        ("def save(x):\n    client.put({'a': [x]})\n", "import store\n\nstore.save(1)\n"),
        ("def save(x):\n    row = Row(a=x)\n    client.put(row)\n", "from store import save\n\nsave(1)\n"),
        ("def save(x):\n    client.table('t').where(T.id == x).delete()\n", "from store import save\n\nsave(1)\n"),
        ("def gone(x):\n    table = client.table(x)\n    table.delete()\n", "from store import gone\n\ngone(1)\n"),
        ("def save(x):\n    with open(x) as f:\n        client.put(f.read())\n", "from store import save\n\nsave(1)\n"),
        ("def gone(x):\n    client[x].delete()\n", "from store import gone\n\ngone(1)\n"),
        ("def gone(c: Client):\n    c.delete()\n", "from store import client, gone\n\ngone(client)\n"),
        ("def save(x):\n    client.put(x or 1)\n", "from store import save\n\nsave(1)\n"),
        ("class S:\n    def save(self, x):\n        client.put(x)\n", "from store import S\n\nS().save(1)\n"),
        ("class S:\n    def save(self):\n        client.put(self.dump())\n", "from store import S\n\nS().save()\n"),
        ("def put(x):\n    client.put(x)\n\ndef save(x):\n    put(x)\n", "from store import save\n\nsave(1)\n"),
    ],
)
def test_a_call_of_a_writer_in_another_module_is_a_write(wrapper: str, use: str) -> None:
    files = {"store.py": STORE + wrapper, "use.py": use}
    assert writes(files)[-1] == "use.py:3 <module>"
    assert len(writes(files)) == 2


@pytest.mark.parametrize(
    ("wrapper", "use"),
    [
        ("def save(x):\n    client.put(Row(a=1))\n", "from store import save\n\nsave(1)\n"),
        ("def save(x):\n    row = Row(a=1)\n    client.put(row)\n", "from store import save\n\nsave(1)\n"),
        (
            "class S:\n    def save(self, x):\n        client.put(x)\n",
            "from store import S\n\nclass T(S):\n    def go(self):\n        self.save(1)\n",
        ),
        ("def save(x):\n    client.put(x)\n\nsave(1)\n", ""),
        (
            "class A:\n    def save(self, x):\n        client.put(x)\n\nclass B:\n    def save(self, x): pass\n",
            "from store import A, B\n\n(A() if x else B()).save(1)\n",
        ),
    ],
)
def test_other_calls_are_none(wrapper: str, use: str) -> None:
    assert len(writes({"store.py": STORE + wrapper, "use.py": use})) == 1


def test_an_inherited_writer_counts_at_the_call() -> None:
    files = {
        "base.py": STORE + "class Document:\n    def save(self):\n        client.put(self.dump())\n",
        "notes.py": "from base import Document\n\nclass Note(Document):\n    pass\n",
        "use.py": "from notes import Note\n\ndef run():\n    note = Note()\n    note.save()\n",
    }
    assert writes(files) == ["base.py:7 Document.save", "use.py:5 run"]


def test_a_function_that_runs_statements_writes_where_a_caller_gives_it_one() -> None:
    files = {
        "db.py": (
            "import psycopg\n\nclass Db:\n    def __init__(self):\n        self.c = psycopg.connect('u')\n\n"
            "    def run(self, query, *a):\n        self.c.cursor().execute(query, a)\n"
        ),
        "use.py": "from db import Db\n\ndb = Db()\ndb.run('SELECT 1')\ndb.run(f'DELETE FROM {t}')\n",
    }
    assert writes(files) == ["db.py:8 Db.run", "use.py:5 <module>"]
    files["use.py"] = "from db import Db\n\ndb = Db()\ndb.run('SELECT 1')\n"
    assert writes(files) == []


def test_a_function_with_a_fixed_statement_is_a_writer_if_it_hands_parameters_to_it() -> None:
    files = {
        "db.py": "import psycopg\nc = psycopg.connect('u')\n\ndef forget(x):\n    c.execute('DELETE FROM t', (x,))\n",
        "use.py": "from db import forget\n\nforget(1)\n",
    }
    assert writes(files) == ["db.py:5 forget", "use.py:3 <module>"]
    files["db.py"] = files["db.py"].replace("(x,)", "(1,)")
    assert writes(files) == ["db.py:5 forget"]


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("for q, why in [('DELETE FROM t', 'old'), ('SELECT 1', 'x')]:\n    c.execute(q)\n", True),
        ("for why, q in [('DELETE FROM t', 'SELECT 1')]:\n    c.execute(q)\n", False),
        ("a, q = 'SELECT 1', 'DELETE FROM t'\nc.execute(q)\n", True),
        ("for a, b in [['DELETE FROM t']]:\n    c.execute(b)\n", False),
    ],
)
def test_a_statement_may_be_part_of_a_literal(code: str, counts: bool) -> None:
    assert bool(writes({"use.py": f"import psycopg\nc = psycopg.connect('u')\n{code}"})) is counts


def test_a_method_of_an_instance_that_its_maker_set_up_is_a_writer_without_arguments() -> None:
    store = (
        "from boxdb import Client\n\nclass Store:\n    def __init__(self, name):\n        self.client = Client('u')\n"
        "        self.table = self.client.table(name)\n\n    def clear(self):\n        self.table.delete()\n"
    )
    use = "from store import Store\n\nStore('t').clear()\n"
    assert writes({"store.py": store, "use.py": use}) == ["store.py:9 Store.clear", "use.py:3 <module>"]
    key = store.replace("name", "").replace("self.table = self.client.table()", "self.key = name + '_q'")
    key = key.replace("(self, )", "(self, name)").replace("self.table.delete()", "self.client.delete(self.key)")
    assert writes({"store.py": key, "use.py": use}) == ["store.py:9 Store.clear", "use.py:3 <module>"]
    fixed = store.replace("name", "self.name").replace("__init__(self, self.name)", "__init__(self)")
    assert writes({"store.py": fixed, "use.py": use}) == ["store.py:9 Store.clear"]


def test_a_statement_is_a_site_where_a_function_of_the_same_module_gives_it() -> None:
    source = (
        "import psycopg\nc = psycopg.connect('u')\n\ndef run(query):\n    c.execute(query)\n\n"
        "def forget():\n    run('DELETE FROM t')\n\ndef all():\n    def inner(query):\n        c.execute(query)\n\n"
        "    inner('DELETE FROM t')\n"
    )
    assert writes({"main.py": source}) == ["main.py:5 run", "main.py:8 forget", "main.py:12 all.inner"]


@pytest.mark.parametrize(
    "use",
    [
        "tasks.add_task(client.put, 1)\n",
        "loop.run_in_executor(None, client.put, 1)\n",
        "loop.run_in_executor(None, functools.partial(client.put, 1))\n",
        "pool.submit(partial(client.put, 1))\n",
        "threading.Thread(target=client.put, args=(1,)).start()\n",
        "def save(c):\n    c.put(1)\n\nThread(target=save, kwargs={'c': client}).start()\n",
    ],
)
def test_a_method_that_is_given_to_a_task_is_called(use: str) -> None:
    assert len(writes({"use.py": STORE + use})) == 1


@pytest.mark.parametrize(("base", "counts"), [("(ABC)", True), ("(metaclass=ABCMeta)", True), ("", False)])
def test_a_parameter_of_an_abstract_class_is_what_callers_give(base: str, counts: bool) -> None:
    files = {
        "base.py": f"from abc import ABC, ABCMeta\n\nclass Base{base}:\n    def put(self, x): ...\n",
        "use.py": (
            "from base import Base\nfrom boxdb import Client\n\ndef save(store: Base, x):\n    store.put(x)\n\n"
            "save(Client('u'), 1)\n"
        ),
    }
    assert writes(files) == ["use.py:5 save"][:counts]


def test_a_provider_opens_the_class_that_it_is_given() -> None:
    assert found({"use.py": "from boxdb import Client\n\nboxes = providers.Singleton(Client, path='x')\n"}) == [
        "use.py:3 bind box embedded <module>"
    ]
