"""Stores that LangGraph Platform gives."""

from kedge.discovery.scan.platform import injected
from kedge.discovery.sites import Site

WRITE = Site("app/src/tools.py", 3, "write", "lg-store:*", "config", "save")
DECLARED = Site("app/langgraph.json", 4, "attach", "lg-platform:threads", "provider", "")


def test_a_store_that_no_code_opens_is_the_platforms() -> None:
    other = Site("other/tools.py", 3, "write", "lg-store:*", "config", "save")
    found = injected([WRITE, DECLARED, other])
    assert [site.kind for site in found] == ["provider", "provider", "config"]
    assert found[0].evidence[-1].path == "app/langgraph.json"


def test_a_store_that_code_opens_is_not() -> None:
    opened = Site("app/src/memory.py", 1, "bind", "lg-store:memory", "volatile", "make")
    assert injected([WRITE, DECLARED, opened])[0].kind == "config"
