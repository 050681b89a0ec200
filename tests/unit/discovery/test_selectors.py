"""What selects among stores."""

import pytest

from kedge.discovery.sites import Selector
from tests.unit.discovery.programs import program, sites

HEAD = "import os\nimport shelf\nfrom boxdb import Client\n\n"


def selectors(source: str) -> list[str]:
    """Return the selector of each bind, with its alternatives."""
    return [
        f"{site.selector} of {','.join(site.selector.alternatives)}" + (" by default" if site.selector.default else "")
        for site in sites(source)
        if site.site_class == "bind" and site.selector is not None
    ]


@pytest.mark.parametrize(
    "body",
    [
        "    if os.environ['KIND'] == 'box':\n        return Client('u')\n    else:\n        return shelf.Client()",
        "    if os.getenv('KIND') == 'box':\n        return Client('u')\n    return shelf.Client()",
        "    match os.getenv('KIND'):\n        case 'box': return Client('u')\n        case _: return shelf.Client()",
        "    kind = os.getenv('KIND')\n    return Client('u') if kind == 'box' else shelf.Client()",
        "    if KIND == 'box':\n        made = Client('u')\n    else:\n        made = shelf.Client()\n    return made",
    ],
)
def test_a_variable_of_the_environment_selects(body: str) -> None:
    source = f"{HEAD}KIND = os.getenv('KIND', 'shelf')\n\ndef make():\n{body}\n"
    assert selectors(source) == ["env(KIND)=box of box,shelf", "env(KIND) of box,shelf by default"]


def test_settings_and_configuration_select() -> None:
    source = (
        "from pydantic_settings import BaseSettings\nfrom boxdb import Client\nimport shelf\n\n"
        "class Settings(BaseSettings):\n    kind: str = 'box'\n\nsettings = Settings()\n\n"
        "def first():\n    if settings.kind == 'box':\n        return Client('u')\n    return shelf.Client()\n\n"
        "def second(config):\n    if config.get('on'):\n        return Client('u')\n"
    )
    assert selectors(source) == [
        "env(KIND)=box of box,shelf by default",
        "env(KIND) of box,shelf",
        "config(on) of box,none",
    ]


def test_the_branch_around_the_callers_selects_what_a_function_or_class_opens() -> None:
    source = (
        f"{HEAD}def one():\n    return Client('u')\n\nclass Two:\n"
        "    def __init__(self):\n        self.open()\n\n"
        "    def open(self):\n        self.client = shelf.Client()\n\n"
        "def make():\n    if os.environ['KIND'] == 'one':\n"
        "        return one()\n    return Two()\n"
    )
    assert selectors(source) == ["env(KIND)=one of box,shelf", "env(KIND) of box,shelf by default"]


def test_a_caller_without_a_branch_leaves_a_function_unselected() -> None:
    source = f"{HEAD}def one():\n    return Client('u')\n\nif os.environ['KIND'] == 'a':\n    one()\n\nx = one()\n"
    assert selectors(source) == []


def test_a_chain_of_factories_has_all_its_stores() -> None:
    source = (
        f"{HEAD}def a():\n    if os.getenv('URL'):\n        return Client('u')\n\n"
        "def b():\n    return shelf.Client()\n\n"
        "store = a() or b()\n"
    )
    assert selectors(source) == ["env(URL) of box,shelf", "env(URL) of box,shelf by default"]


def test_a_store_that_is_selected_against_itself_is_told_by_kind_or_place() -> None:
    source = f"{HEAD}if os.getenv('CLOUD'):\n    c = Client('u')\nelse:\n    c = Client(path='p')\n"
    assert selectors(source) == [
        "env(CLOUD) of box embedded,box remote",
        "env(CLOUD) of box embedded,box remote by default",
    ]


def test_the_environment_closes_the_alternatives_of_a_write() -> None:
    source = (
        f"{HEAD}def make():\n    if os.getenv('KIND') == 'box':\n        return Client('u')\n"
        "    elif os.getenv('KIND') == 'shelf':\n        return shelf.Client()\n\nmake().put(1)\n"
    )

    def written(environment: dict[str, str]) -> list[tuple[str, str]]:
        found = program({"main.py": source}, environment).sites()
        return [(site.store, site.kind) for site in found if site.site_class == "write"]

    assert written({}) == [("box", "config"), ("shelf", "config")]
    assert written({"KIND": "shelf"}) == [("shelf", "remote")]
    assert written({"KIND": "other"}) == [("box", "config"), ("shelf", "config")]


def test_a_write_has_the_selector_of_the_alternative_that_it_writes_to() -> None:
    source = (
        f"{HEAD}def make():\n    if os.getenv('KIND') == 'box':\n        return Client('u')\n"
        "    return shelf.Client()\n\nmake().put(1)\n"
    )
    chosen = {site.store: site.selector for site in sites(source) if site.site_class == "write"}
    assert chosen["box"] == Selector("env", "KIND", "box", False, ("box", "shelf"))


def test_an_argument_that_must_be_given_and_an_early_return_select_no_store() -> None:
    source = (
        f"{HEAD}def one(url=None):\n    if url:\n        return Client(url)\n\ndef two(config):\n"
        "    if config.get('thread'):\n        return None\n    return shelf.Client()\n"
    )
    assert selectors(source) == []


def test_an_early_return_on_a_variable_that_is_not_set_selects() -> None:
    source = (
        f"{HEAD}def make():\n    url = os.getenv('U')\n    if not url:\n        return shelf.Client()\n"
        "    return Client(url)\n"
    )
    assert selectors(source) == ["env(U) of box,shelf by default", "env(U) of box,shelf"]


def test_a_key_of_a_registry_selects_what_is_taken_from_it() -> None:
    source = (
        f"{HEAD}class A:\n    def __init__(self):\n        self.c = Client('u')\n\n"
        "def b():\n    return shelf.Client()\n\n"
        "ALL = {'a': A, 'b': b}\n\ndef make(name=None):\n    name = name or os.environ.get('KIND', 'b')\n"
        "    maker = ALL[name]\n    return maker()\n"
    )
    assert selectors(source) == ["env(KIND)=a of box,shelf", "env(KIND)=b of box,shelf by default"]
