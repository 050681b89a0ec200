"""Renderings of a map: one HTML page that needs nothing else, Mermaid that no name breaks, equal bytes each time."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from kedge.discovery.map import ContextMap
from kedge.discovery.map.join import join
from kedge.discovery.map.journal import Called, Flow, Journaled, Ran, Space
from kedge.discovery.map.layout import narrow, wide
from kedge.discovery.map.mermaid import mermaid
from kedge.discovery.map.model import Edge, Node
from kedge.discovery.map.page import page
from kedge.discovery.map.static import StaticScan, StaticSite
from kedge.discovery.traces import read_traces
from tests.trace_files import RECORDED

HOSTILE = '"]; click n0 "javascript:alert(1)" <script>alert(1)</script> #quot; `x` %% | end'
VOID = {"meta", "br", "path", "rect", "circle"}


class Parsed(HTMLParser):
    """The elements of a page, with their attributes and text; asserts that they nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def _map(*, deployment: str | None = "v2") -> ContextMap:
    sites = (
        StaticSite("team.py", 9, "write", "chroma", "embedded", "Team.researcher"),
        StaticSite(
            "team.py", 4, "bind", "postgres", "remote", "load", "env(DB)=postgres", False, ("postgres", "sqlite")
        ),
    )
    ran = Ran("v2", "live", ("writer",), (Space("kedge:memory", 4),))
    kept = Journaled((Flow("writer", "kedge:memory", "write", 9),), (), (ran,), 9, all_turns=True)
    return join(StaticScan(sites), read_traces(*RECORDED), kept, deployment=deployment)


@pytest.fixture(scope="module")
def shown() -> Parsed:
    return Parsed(page(_map()))


def test_the_page_needs_nothing_from_elsewhere(shown: Parsed) -> None:
    text = page(_map())
    assert not shown.all("script") + shown.all("link") + shown.all("img") + shown.all("iframe")
    assert not re.findall(r"https?://|@import|src=", text)
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    assert {(each.get("href") or "")[:1] for each in shown.all("a")} == {"#"}


def test_the_page_fits_narrow_screens_and_dark_ones(shown: Parsed) -> None:
    assert any(each.get("content") == "width=device-width, initial-scale=1" for each in shown.all("meta"))
    assert [each["class"] for each in shown.all("svg")] == ["wide", "narrow"]
    text = page(_map())
    assert "prefers-color-scheme: dark" in text
    assert "@media (max-width: 760px)" in text


def test_every_box_leads_to_its_line_and_has_a_name(shown: Parsed) -> None:
    found = _map()
    targets = {each["id"] for each in shown.all("tr") if "id" in each}
    links = [each for each in shown.all("a") if "box" in (each.get("class") or "")]
    assert len(links) == 2 * len(found.nodes)
    assert {(each["href"] or "").removeprefix("#") for each in links} == targets
    assert len(targets) == len(found.nodes)
    assert all(each.get("aria-label") for each in links)
    assert all(each.get("aria-label") for each in shown.all("svg"))
    drawn = re.search(r'<svg class="wide".*?</svg>', page(found), re.DOTALL)
    assert drawn is not None
    assert drawn.group().count('<path class="line ') == len({(edge.source, edge.target) for edge in found.edges})


def test_tables_say_what_the_drawing_shows(shown: Parsed) -> None:
    found = _map()
    assert len(shown.all("tr")) == len(found.edges) + len(found.nodes) + 2
    for words in (
        "researcher writes chroma; writer reads it", "static, observed",
        "if env(DB)=postgres (one of postgres, sqlite)",
        "team.py:9", "kedge:memory: 4 written", "count()", "Longest way of context", "2 steps: ",
    ):  # fmt: skip
        assert words in shown.text


def test_a_box_says_how_many_steps_away_it_is(shown: Parsed) -> None:
    labels = {each.get("aria-label") for each in shown.all("a")}
    assert {"agent researcher, 1 steps away", "store chroma, 2 steps away", "deployment v1"} <= labels
    outside = {each["aria-label"] for each in shown.all("a") if " out" in (each.get("class") or "")}
    assert "deployment v1" in outside
    assert "store chroma, 2 steps away" not in outside
    did = {each["aria-label"] for each in shown.all("a") if " did" in (each.get("class") or "")}
    assert did == {"store kedge:memory, 2 steps away"}


def test_a_map_without_anything_is_a_page() -> None:
    assert "Nothing was found." in Parsed(page(join(StaticScan(())))).text


def test_hostile_names_stay_text() -> None:
    site = StaticSite(HOSTILE, 1, "write", HOSTILE, "embedded", HOSTILE, f"env({HOSTILE})", False, (HOSTILE,))
    flows = (Flow(HOSTILE, HOSTILE, "write", 1), Flow(f"{HOSTILE}2", HOSTILE, "read", 1))
    ran = Ran(HOSTILE, HOSTILE, (HOSTILE,), (Space(HOSTILE, 1),))
    kept = Journaled(flows, (Called(HOSTILE, f"{HOSTILE}2", 1),), (ran,), 2, all_turns=True)
    found = join(StaticScan((site,), (HOSTILE,)), None, kept, deployment=HOSTILE)
    assert found.boundaries
    shown = Parsed(page(found))
    assert not shown.all("script")
    assert shown.text.count("<script>alert(1)</script>") > 20
    for line in mermaid(found).splitlines()[1:]:
        assert re.fullmatch(
            r'    (n\d+(\(\[|\[\(|\[\[|\{\{)"[^"<>`|%;{}\\]*(#\d+;[^"<>`|%;{}\\]*)*"(\]\)|\)\]|\]\]|\}\}):::\w+'
            r'|n\d+ (-->|-\.->)\|"[\w ,]+"\| n\d+|classDef \w+ [\w:#,]+)',
            line,
        ), line


def test_mermaid_shows_nodes_and_the_direction_of_context() -> None:
    lines = mermaid(_map()).splitlines()
    assert lines[0] == "flowchart LR"
    ids = {found[2]: found[1] for line in lines if (found := re.match(r'    (n\d+)\W+"([^"]+)"', line))}
    assert f'    {ids["researcher"]} -->|"writes"| {ids["chroma"]}' in lines
    assert f'    {ids["chroma"]} -->|"read by"| {ids["writer"]}' in lines
    assert any(line.startswith(f"    {ids['team (module)']} -.->") for line in lines)


def test_renderings_are_equal_each_time() -> None:
    first, again = _map(), _map()
    assert msgspec.json.encode(first) == msgspec.json.encode(again)
    assert (page(first), mermaid(first)) == (page(again), mermaid(again))


def test_boxes_do_not_overlap_and_stay_inside() -> None:
    found = _map()
    for drawing in (wide(found.nodes, found.edges), narrow(found.nodes, found.edges)):
        assert {box.node.id for box in drawing.boxes} == {node.id for node in found.nodes}
        for box in drawing.boxes:
            assert box.x >= 0
            assert box.y >= 0
            assert box.x + box.width <= drawing.width
            assert box.y + box.height <= drawing.height
            for other in drawing.boxes:
                apart = abs(box.x - other.x) >= box.width or abs(box.y - other.y) >= box.height
                assert box is other or apart


def test_neighbours_are_brought_level() -> None:
    nodes = [Node(f"{kind}:{name}", kind, str(name)) for kind in ("agent", "store") for name in range(4)]
    edges = [Edge(f"agent:{n}", f"store:{3 - n}", "write", ("static",)) for n in range(4)]
    level = {box.node.id: box.middle for box in wide(nodes, edges).boxes}
    assert all(level[edge.source] == level[edge.target] for edge in edges)
