"""Resolution of names to stores, over small programs."""

import pytest

from tests.unit.discovery.programs import found

CLIENT = "from boxdb import Client\n"


@pytest.mark.parametrize(
    "source",
    [
        "from boxdb import Client\nClient('u').put(1)",
        "import boxdb\nboxdb.Client('u').put(1)",
        "import boxdb as b\nb.Client('u').put(1)",
        "from boxdb import Client as Other\nOther('u').put(1)",
        "import boxdb.aio as boxdb\nboxdb.Client('u').put(1)",
        "from boxdb.aio import Client\nClient('u').put(1)",
    ],
)
def test_a_class_is_found_under_each_import(source: str) -> None:
    assert found(source) == ["main.py:2 bind box remote <module>", "main.py:2 write box remote <module>"]


def test_the_same_bare_name_of_another_package_is_another_store() -> None:
    source = "from shelf.v2 import Client\n\ndef make():\n    return Client.of('x')\n\nmake().put(1)"
    assert found(source) == ["main.py:4 bind shelf remote make", "main.py:6 write shelf remote <module>"]


def test_a_name_that_no_import_binds_is_no_store() -> None:
    assert found("class Client:\n    def put(self, x): pass\n\nClient().put(1)\nother.put(1)") == []


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("Client('u')", "remote"),
        ("Client(path='x')", "embedded"),
        ("Client(path=None)", "remote"),
        ("Client('u', Settings(mode='memory'))", "volatile"),
        ("Client('u', settings=options)", "volatile"),
        ("Client(**given)", "embedded"),
        ("Client(**later)", "embedded"),
        ("Client(os.environ['MY_LOCAL_BOX'])", "embedded"),
        ("Client(os.getenv('BOX', 'local/x'))", "embedded"),
        ("Client(os.environ['BOX'])", "remote"),
    ],
)
def test_arguments_decide_the_kind(call: str, kind: str) -> None:
    before = "options = dict(mode='memory')\ngiven = {'path': 'x'}\nlater = {}\nlater['path'] = 'x'\n"
    assert found(f"{CLIENT}{before}{call}") == [f"main.py:6 bind box {kind} <module>"]


def test_attributes_have_types_through_base_classes_and_parameters() -> None:
    files = {
        "app/__init__.py": "",
        "app/base.py": CLIENT + "\nclass Base:\n    def __init__(self, url):\n        self.client = Client(url)\n",
        "app/deep/__init__.py": "",
        "app/deep/repo.py": (
            "from ..base import Base\n\nclass Repo(Base):\n    def save(self, x):\n"
            "        self.client.table('t').put(x)\n"
        ),
        "app/inject.py": (
            "from app.base import Base\n\nclass User:\n    def __init__(self, owner):\n        self.owner = owner\n\n"
            "    def run(self):\n        self.owner.client.delete(1)\n\nUser(owner=Base('u')).run()\n"
        ),
    }
    assert found(files) == [
        "app/base.py:5 bind box remote Base.__init__",
        "app/deep/repo.py:5 write box remote Repo.save",
        "app/inject.py:8 write box remote User.run",
    ]


def test_a_base_class_uses_what_a_subclass_opens() -> None:
    source = (
        "from boxdb import Client\n\nclass Base:\n    def open(self):\n        raise NotImplementedError\n\n"
        "    def save(self):\n        self.open().put(1)\n\nclass Real(Base):\n    def open(self):\n"
        "        return Client('u')\n"
    )
    assert "main.py:8 write box remote Base.save" in found(source)


@pytest.mark.parametrize(
    "maker",
    [
        "def make():\n    return Client('u')\n",
        "@contextmanager\ndef make():\n    yield Client('u')\n",
        "class make:\n    def __new__(cls):\n        cls._one = Client('u')\n        return cls._one\n",
        "def make():\n    with Client('u') as client:\n        return client\n",
        (
            "class Pool:\n    async def __aenter__(self):\n        return Client('u')\n\n"
            "async def make():\n    async with Pool() as client:\n        return client\n"
        ),
        "REGISTRY = {'a': Client}\n\ndef make(name='a'):\n    return REGISTRY[name]('u')\n",
        "def make():\n    return asyncio.run(build())\n\nasync def build():\n    return Client('u')\n",
    ],
)
def test_a_factory_gives_what_it_returns(maker: str) -> None:
    use = "\ndef use():\n    handle = make()\n    handle.put(1)\n"
    assert [each for each in found(CLIENT + maker + use) if " write " in each] == [
        f"main.py:{(CLIENT + maker + use).count(chr(10))} write box remote use"
    ]


@pytest.mark.parametrize(
    "body",
    [
        "@dataclass\nclass A:\n    c: object = field(default_factory=lambda: Client('u'))\n",
        "class A(BaseModel):\n    c: object = Field(default_factory=make)\n\ndef make():\n    return Client('u')\n",
        "class A(BaseModel):\n    c: object = PrivateAttr(default=Client('u'))\n",
    ],
)
def test_a_field_has_the_value_that_its_factory_makes(body: str) -> None:
    assert found(f"{CLIENT}{body}\nA().c.put(1)\n")[-1].endswith(" write box remote <module>")


@pytest.mark.parametrize("maker", ["def make() -> 'Client':\n    return x()", "make = lambda: cast(Client, x())"])
def test_the_kind_is_open_where_only_a_type_is_named(maker: str) -> None:
    assert found(f"{CLIENT}{maker}\nmake().put(1)")[-1].endswith(" write box config <module>")


@pytest.mark.parametrize(
    "use",
    [
        "with c.pipeline() as p:\n    p.put(1)",
        "[p.put(1) for p in [c]]",
        "asyncio.to_thread(c.put, 1)",
        "loop.run_in_executor(None, c.put, 1)",
        "c['x']['y'].put(1) if c else None",
        "c.table('t').where(1).put(1)",
        "for p in (c, None):\n    p.put(1)",
        "(d := c).put(1)\nd",
        "a, b = c, 1\na.put(1)",
        "c.beta.items.create(1)",
        "getattr(c, 'put')(1)",
    ],
)
def test_a_write_is_found_through_each_way_to_hold_a_handle(use: str) -> None:
    files = f"from boxdb import Client\nc = Client('u')\n{use}\n"
    if "['y']" in use:
        files = files.replace("['x']['y']", "['x']")
    assert [each.split()[1:4] for each in found(files)][1:] == [["write", "box", "remote"]]


def test_alternatives_are_all_kept_and_their_kind_is_open() -> None:
    source = (
        "from boxdb import Client\nimport shelf\n\ndef make(kind):\n    if kind == 'a':\n        return Client('u')\n"
        "    return shelf.Client()\n\nmake('a').put(1)\n"
    )
    assert found(source)[2:] == ["main.py:9 write box config <module>", "main.py:9 write shelf config <module>"]


def test_an_injected_parameter_has_the_type_of_its_annotation() -> None:
    source = (
        "from typing import Annotated, Optional\nfrom boxdb import Base, Runtime\n\n"
        "def node(state, *, store: Optional[Base]):\n    store.put(1)\n\n"
        "def tool(x, store: Annotated[Base, 'injected']):\n    store.put(x)\n\n"
        "def other(state, runtime: Runtime[str]):\n    runtime.store.put(1)\n"
    )
    assert found(source) == [
        "main.py:5 write box:* config node",
        "main.py:8 write box:* config tool",
        "main.py:11 write box:* config other",
    ]


@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("c.execute('INSERT INTO t VALUES (1)')", True),
        ("c.execute('SELECT * FROM t FOR UPDATE')", False),
        ("q = f'DELETE FROM {table}'\nc.cursor().execute(q)", True),
        ("q = 'SELECT 1'\nc.execute(q)\nq = 'DELETE FROM t'", False),
        ("for q in ['SELECT 1', 'DROP TABLE t']:\n    c.execute(q)", True),
        ("c.execute(\"SELECT 'delete from t'\")", False),
        ("q = sqlalchemy.insert(t)\nq = q.values(1)\nq = q.returning(2)\nc.execute(q)", True),
        ("q = sqlalchemy.select(t)\nq = q.where(1)\nc.execute(q)", False),
        ("with c.cursor() as k:\n    k.execute('UPD' 'ATE t SET a = 1')", True),
        ("c.execute(text('TRUNCATE t'))", True),
        ("c.execute(unknown)", False),
        ("c.execute('CREATE TABLE IF NOT EXISTS t (a int)')", False),
    ],
)
def test_the_statement_decides_whether_sql_writes(statement: str, writes: bool) -> None:
    sites = found(f"import psycopg, sqlalchemy\nc = psycopg.connect('u')\n{statement}\n")
    assert any(" write postgres " in each for each in sites) is writes


def test_a_store_is_attached_by_argument_and_by_assignment() -> None:
    source = (
        "from boxdb import Client\nfrom graphs import Graph\n\nc = Client('u')\nGraph().compile(checkpointer=c)\n"
        "Graph().compile(checkpointer=None)\nGraph().compile(checkpointer=unknown)\nagent.checkpointer = c\n"
        "agent.checkpointer = 5\n"
    )
    assert found(source)[1:] == [
        "main.py:5 attach box remote <module>",
        "main.py:7 attach box:* config <module>",
        "main.py:8 attach box remote <module>",
    ]


def test_a_reference_is_pinned_by_a_commit_alone() -> None:
    source = (
        "import models\nNAME = 'a/b'\nmodels.load(NAME)\nmodels.load(NAME, revision='main')\n"
        "models.load(NAME, revision='0123456789012345678901234567890123456789')\n"
    )
    assert found(source) == ["main.py:3 pin model provider <module>", "main.py:4 pin model provider <module>"]


def test_scripts_are_resolved_as_python_is() -> None:
    files = {
        "src/db.ts": "import { Client } from 'boxdb'\nexport const db = new Client('u')\nexport default class Repo {\n"
        "  db = db\n  async save(x: string) { await this.db.put(x) }\n}\n",
        "src/index.ts": "export * from './db'\nexport { default as Repo } from './db'\n",
        "src/use.tsx": "import { db } from './index'\nimport Box from 'boxdb'\n\nconst make = () => new Box('u')\n"
        "export async function POST() {\n  await db.table('x').put(1)\n  make().beta.items.create(1)\n}\n",
        "src/type.ts": "import type { Client } from 'boxdb'\n\n"
        "export function use(c: Client | undefined) { c?.put(1) }\n",
    }
    assert found(files) == [
        "src/db.ts:2 bind box remote <module>",
        "src/db.ts:5 write box remote Repo.save",
        "src/type.ts:3 write box config use",
        "src/use.tsx:4 bind box remote make",
        "src/use.tsx:6 write box remote POST",
        "src/use.tsx:7 write box remote POST",
    ]


def test_a_variable_that_is_made_from_itself_keeps_its_type() -> None:
    source = (
        "from boxdb import Client\n\ndef run(c: Client, on):\n    t = c.table('t')\n    t = t.where(1)\n"
        "    if on:\n        t = t.where(2)\n    t.put(1)\n"
    )
    assert found(source) == ["main.py:8 write box config run"]


@pytest.mark.parametrize(
    "source",
    [
        "".join(f"x{number} = x{number - 1}\n" for number in range(1, 1000)) + "x999.put(1)\n",
        "class C0: pass\n" + "".join(f"class C{n}(C{n - 1}): pass\n" for n in range(1, 1000)) + "C999().put(1)\n",
        "def f0(a): return a\n" + "".join(f"def f{n}(a): return f{n - 1}(a)\n" for n in range(1, 1000)) + "f999(1)\n",
        "x = a" + ".where(1)" * 1000 + ".put(1)\n",
        "def f(x):\n    return f(f(x)).put(f)\nf = f or f()\n",
    ],
)
def test_chains_and_cycles_of_any_length_end(source: str) -> None:
    assert found(f"{source}{CLIENT}Client('u')\n") == [f"main.py:{source.count(chr(10)) + 2} bind box remote <module>"]


@pytest.mark.parametrize(
    "use",
    [
        (
            "class Pool:\n    def __init__(self):\n        self.all = {}\n        self.all['a'] = Client('u')\n\n"
            "    def run(self, name):\n        self.all[name].put(1)\n"
        ),
        "ALL = {}\n\ndef add(name):\n    ALL[name] = Client('u')\n\ndef run(name):\n    ALL.get(name).put(1)\n",
        (
            "app = make()\n\ndef start():\n    app.state.box = Client('u')\n\n"
            "def run(request):\n    request.app.state.box.put(1)\n"
        ),
    ],
)
def test_a_handle_is_found_in_containers_and_in_the_state_of_an_application(use: str) -> None:
    assert [each.split()[1] for each in found(CLIENT + use)] == ["bind", "write"]


def test_a_class_that_gives_a_handle_in_place_of_an_instance_opens_it() -> None:
    files = {
        "one.py": CLIENT + "\nclass One:\n    _it = None\n\n    def __new__(cls):\n        if cls._it is None:\n"
        "            cls._it = Client('u')\n        return cls._it\n\nhere = One()\n",
        "use.py": "from one import One\n\ndef run():\n    One().put(1)\n",
    }
    assert found(files) == [
        "one.py:8 bind box remote One.__new__",
        "use.py:4 bind box remote run",
        "use.py:4 write box remote run",
    ]


def test_a_script_imports_from_its_own_folder_though_it_is_a_package() -> None:
    files = {
        "app/__init__.py": "",
        "app/keeping.py": "from boxdb import Client\nclient = Client()\n",
        "app/logging.py": "from boxdb import Client\nclient = Client()\n",
        "app/run/__init__.py": "",
        "app/run/main.py": "from keeping import client\ndef save():\n    client.put(1)\n",
        "app/run/other.py": "from logging import client\ndef save():\n    client.put(1)\n",
    }
    assert found(files) == [
        "app/keeping.py:2 bind box remote <module>",
        "app/logging.py:2 bind box remote <module>",
        "app/run/main.py:3 write box remote save",
    ]


def test_a_function_that_is_given_by_name_has_parameters_by_their_names() -> None:
    files = {
        "main.py": (
            "from graphs import Graph\nfrom nodes import save\n\ngraph = Graph()\ngraph.add_node('a', save)\n"
            "other.add_node('b', lambda store: store.put(1))\n"
        ),
        "nodes.py": "def save(state, store):\n    store.put(1)\n    state.put(1)\n",
    }
    assert found(files) == ["nodes.py:2 write box:* config save"]


def test_the_context_of_trpc_is_what_its_maker_returns() -> None:
    files = {
        "trpc.ts": (
            "import { initTRPC } from '@trpc/server'\nimport { Client } from 'boxdb'\nconst db = new Client('u')\n"
            "const inner = (o: object) => ({ db, ...o })\nexport const createTRPCContext = () => inner({ a: 1 })\n"
            "const t = initTRPC.context<typeof createTRPCContext>().create()\n"
            "export const open = t.procedure.use(check)\n"
        ),
        "router.ts": (
            "import { open } from './trpc'\n\nexport const add = open.input(x).mutation(async ({ ctx, input }) => {\n"
            "  await ctx.db.put(input)\n})\n"
        ),
    }
    assert found(files)[0].startswith("router.ts:4 write box remote ")


def test_the_dependencies_of_a_tool_have_the_type_that_its_context_carries() -> None:
    source = (
        "from dataclasses import dataclass\nfrom pydantic_ai import RunContext\nfrom shelf.v2 import Client\n\n"
        "@dataclass\nclass Deps:\n    db: Client\n\ndef tool(ctx: RunContext[Deps], x):\n    ctx.deps.db.put(x)\n"
    )
    assert found(source) == ["main.py:10 write shelf remote tool"]


def test_raw_statements_on_the_tables_of_a_checkpointer_are_its_own() -> None:
    source = (
        "import psycopg\n\nclass Settings:\n    def __init__(self):\n        self.TABLES = ['checkpoints', 'x']\n"
        "\nsettings = Settings()\nc = psycopg.connect('u')\nfor table in settings.TABLES:\n"
        "    c.execute(f'DELETE FROM {table}')\n"
    )
    assert found(source)[1] == "main.py:10 write lg-saver:postgres remote <module>"
