"""The score of a scan counts as the corpus says, so that no figure flatters."""

import json
import re
from pathlib import Path

import pytest

from bench.scan.score import Share, best, is_test, language, same_selector, same_store, score, summary
from bench.scan.truth import CORPUS, JUDGED, Judged, Row, glob_pattern, judgements, repositories
from kedge.discovery.sites import Selector, Site

TRUTH = """\
# a comment
## some/app @abc set | src/**,compose.yaml
src/a.py:10|bind|qdrant|remote|f|M|env(MODE)
src/a.py:20|write|qdrant|config|f|M
src/b.ts:5|bind|redis|remote|g|O
compose.yaml:3|decl|postgres|remote||M
src/a.py:40|read|qdrant|config|f|O
"""


def _site(path: str, line: int, site_class: str = "bind", store: str = "qdrant", **rest: object) -> Site:
    values = {"kind": "remote", "function": "f"} | rest
    return Site(path, line, site_class, store, **values)  # type: ignore[arg-type]


def test_recall_and_precision_count_what_is_near_a_row() -> None:
    (app,) = repositories(TRUTH)
    found = [
        _site("src/a.py", 12),
        _site("src/a.py", 23, "write"),  # three lines away: a miss, and unmatched
        _site("src/b.ts", 5, store="redis", function="g"),
        _site("src/a.py", 41, "write"),  # near a row that is never scored
        _site("other/a.py", 1),  # out of scope
        _site("src/tests/a.py", 1),  # a test
    ]
    scored = score(app, found)
    whole = summary([scored])
    assert whole.recall == Share(1, 3)
    assert whole.optional == Share(1, 1)
    assert whole.precision == Share(3, 4)
    assert [site.line for site in scored.unmatched] == [23]
    assert summary([scored], of_class="attach+decl+pin").recall == Share(0, 1)
    assert summary([scored], of_language="Python").recall == Share(1, 2)
    assert summary([scored], of_language="TypeScript").precision == Share(1, 1)


def test_what_a_person_judged_right_counts_in_a_figure_of_its_own() -> None:
    (app,) = repositories(TRUTH)
    found = [_site("src/a.py", 10), *(_site("src/z.py", line, "write") for line in (1, 2, 3))]
    judged = [Judged("some/app", "src/z.py", 1, "write", True), Judged("some/app", "src/z.py", 2, "write", False)]
    judged += [Judged("other/app", "src/z.py", 3, "write", True), Judged("some/app", "src/z.py", 3, "bind", True)]
    scored = score(app, found, judged)
    whole = summary([scored])
    assert (whole.precision, whole.judged) == (Share(1, 4), Share(2, 4))
    assert [site.line for site in scored.open] == [3]


def test_labels_are_scored_on_the_finding_that_fits_best() -> None:
    row = Row("a.py", 10, "bind", "lg-saver:*", "remote", "f", "M")
    wrong, right = _site("a.py", 10, "write"), _site("a.py", 11, store="lg-saver:postgres")
    assert best(row, [wrong, right]) is right
    (app,) = repositories(TRUTH)
    whole = summary([score(app, [_site("src/a.py", 10, store="redis", kind="embedded", function="x")])])
    assert (whole.store, whole.kind, whole.function) == (Share(0, 1), Share(0, 1), Share(0, 1))


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        ("postgres", "sqlite", True), ("postgres", "sql", True), ("postgres", "pgvector", False),
        ("lg-saver:*", "lg-saver:postgres", True), ("lg-saver:sqlite", "lg-saver:*", True),
        ("lg-saver:sqlite", "lg-saver:postgres", False), ("lg-saver:*", "lg-store:*", False),
        ("file:memory", "file:cache", False),
    ],
)  # fmt: skip
def test_families_are_equal_as_the_corpus_says(truth: str, found: str, expected: bool) -> None:
    assert same_store(truth, found) is expected


def test_a_selector_counts_with_its_name_and_two_alternatives() -> None:
    row = Row("a.py", 1, "bind", "qdrant", "remote", "f", "M", "env(MODE)")
    two = ("chroma", "qdrant")
    assert same_selector(row, _site("a.py", 1, selector=Selector("env", "MODE", alternatives=two)))
    assert not same_selector(row, _site("a.py", 1, selector=Selector("env", "MODE", alternatives=two[:1])))
    assert not same_selector(row, _site("a.py", 1, selector=Selector("env", "OTHER", alternatives=two)))
    assert not same_selector(row, _site("a.py", 1, selector=Selector("config", "MODE", alternatives=two)))
    assert not same_selector(row, _site("a.py", 1))


def test_a_selector_is_missed_with_its_row() -> None:
    (app,) = repositories(TRUTH)
    assert summary([score(app, [])]).selector == Share(0, 1)


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("src/**", "src/a/b.py", True), ("src/**", "src/b.py", True), ("src/**", "lib/src/b.py", False),
        ("docker/*.yaml", "docker/a.yaml", True), ("docker/*.yaml", "docker/b/a.yaml", False),
        ("a.b", "axb", False),
    ],
)  # fmt: skip
def test_globs(glob: str, path: str, expected: bool) -> None:
    assert bool(glob_pattern(glob).fullmatch(path)) is expected


def test_the_corpus_has_its_rows() -> None:
    every = list(repositories(CORPUS.read_text("utf-8")))
    rows = [row for each in every for row in each.rows]
    assert (len(every), len(rows), sum(row.required for row in rows)) == (13, 324, 225)
    for each in every:
        assert [row.path for row in each.rows if not each.contains(row.path)] == []
        assert [row.path for row in each.rows if is_test(row.path)] == []
    assert {language(row.path) for row in rows} == {"Python", "TypeScript", "notebooks", "infrastructure"}


def test_judgements_are_of_repositories_and_files_of_the_corpus() -> None:
    scopes = {each.name: each for each in repositories(CORPUS.read_text("utf-8"))}
    judged = list(judgements(JUDGED.read_text("utf-8")))
    assert judged
    assert [each for each in judged if not scopes[each.repository].contains(each.path)] == []


ROWS = {  # of the table in docs/scan.md: the part of the score, and its figure
    "all places": ("all", "recall"),
    "Python, opened": ("Python bind", "recall"),
    "Python, changed": ("Python write", "recall"),
    "JavaScript, TypeScript": ("TypeScript", "recall"),
    "infrastructure": ("infrastructure", "recall"),
    "store named right": ("all", "store"),
    "kind named right": ("all", "kind"),
    "function named right": ("all", "function"),
    "selector with its alternatives": ("all", "selector"),
    "findings near a marked place": ("all", "precision"),
}


def test_the_page_has_the_figures_of_the_committed_score() -> None:
    committed = json.loads(CORPUS.with_name("score.json").read_text("utf-8"))
    assert committed["missing"] == []
    page = (Path(__file__).parents[3] / "docs" / "scan.md").read_text("utf-8")
    lines = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    figures = {name: committed["parts"][part][figure] for name, (part, figure) in ROWS.items()}
    assert [(name, int(part), int(whole)) for name, part, whole in lines] == [
        (name, figure["part"], figure["whole"]) for name, figure in figures.items()
    ]
    judged = committed["parts"]["all"]["judged"]
    assert judged["part"] == judged["whole"], "the page says that all findings are right"
