"""Score of a scan against the sites that a person found."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bench.scan.truth import Judged, Repository, Row
from kedge.discovery.sites import Site

NEAR = 2  # lines between a finding and the row that it matches
_SQL = {"postgres", "sqlite", "mysql", "sql"}  # one family until a URL tells
_LANGUAGES = {
    **dict.fromkeys((".py", ".pyi"), "Python"),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"), "TypeScript"),
    ".ipynb": "notebooks",
}
_TEST_FILE = re.compile(r"(?:^|/)tests/|(?:^|/)test_[^/]*$|_test\.[^/]*$|\.(?:test|spec)\.[jt]sx?$")


@dataclass(frozen=True)
class Match:
    """A row with the finding that fits it best; without one, it was missed."""

    repository: str
    row: Row
    site: Site | None


@dataclass(frozen=True)
class Scored:
    """Findings of one repository, set against its rows.

    `unmatched`: findings near no row, of which a person judged `right` to be right; `open`: not judged yet.
    """

    repository: str
    matches: tuple[Match, ...]
    matched: tuple[Site, ...]
    unmatched: tuple[Site, ...]
    right: tuple[Site, ...] = ()
    open: tuple[Site, ...] = ()


def score(repository: Repository, sites: Iterable[Site], judged: Iterable[Judged] = ()) -> Scored:
    """Match the findings in scope with the rows: equal path, lines at most 2 apart."""
    found = [site for site in sites if repository.contains(site.path) and not is_test(site.path)]
    matches = tuple(Match(repository.name, row, best(row, found)) for row in repository.rows)
    near = [any(is_near(row, site) for row in repository.rows) for site in found]
    unmatched = tuple(site for site, matched in zip(found, near, strict=True) if not matched)
    verdicts = [_verdict(site, [each for each in judged if each.repository == repository.name]) for site in unmatched]
    return Scored(
        repository.name,
        matches,
        tuple(site for site, matched in zip(found, near, strict=True) if matched),
        unmatched,
        tuple(site for site, verdict in zip(unmatched, verdicts, strict=True) if verdict),
        tuple(site for site, verdict in zip(unmatched, verdicts, strict=True) if verdict is None),
    )


def _verdict(site: Site, judged: Iterable[Judged]) -> bool | None:
    """Return what a person said of a finding, None of one that no person has seen."""
    return next(
        (
            each.right
            for each in judged
            if (each.path, each.line, each.site_class) == (site.path, site.line, site.site_class)
        ),
        None,
    )


def is_near(row: Row, site: Site) -> bool:
    """Whether a finding matches a row."""
    return site.path == row.path and abs(site.line - row.line) <= NEAR


def best(row: Row, sites: Iterable[Site]) -> Site | None:
    """Return the finding near a row that fits it best: by class, then line, then store and kind."""
    near = [site for site in sites if is_near(row, site)]
    return min(near, key=lambda site: _misfit(row, site), default=None)


def _misfit(row: Row, site: Site) -> tuple[bool, int, bool, bool]:
    distance = abs(site.line - row.line)
    return (site.site_class != row.site_class, distance, not same_store(row.store, site.store), site.kind != row.kind)


def same_store(truth: str, found: str) -> bool:
    """Whether two names are of one family. `lg-saver:*` is any saver, and SQL is one family until a URL tells."""
    if truth == found or {truth, found} <= _SQL:
        return True
    family, _, member = truth.partition(":")
    other, _, other_member = found.partition(":")
    return family == other and family in {"lg-saver", "lg-store"} and "*" in {member, other_member}


def same_selector(row: Row, site: Site) -> bool:
    """Whether a finding names what selects the site, with at least two alternatives."""
    source, name = row.selector_parts
    selector = site.selector
    if selector is None or selector.source != source or len(selector.alternatives) <= 1:
        return False
    return not name or selector.name.rpartition(".")[2].lower() == name.lower()


def language(path: str) -> str:
    """Return the language of a path, "infrastructure" for all that is no code."""
    return _LANGUAGES.get(PurePosixPath(path.partition(":")[0]).suffix, "infrastructure")


def is_test(path: str) -> bool:
    """Whether a path is a test file, which the truth leaves out."""
    return _TEST_FILE.search(path.partition(":")[0]) is not None


def group(site_class: str) -> str:
    """Return the class under which a row is counted."""
    return site_class if site_class in {"bind", "write"} else "attach+decl+pin"


@dataclass(frozen=True)
class Share:
    """A number of a total."""

    part: int
    whole: int

    @property
    def ratio(self) -> float | None:
        """The share, or None of nothing."""
        return self.part / self.whole if self.whole else None


@dataclass(frozen=True)
class Summary:
    """The figures of one part of the corpus.

    `precision`: findings near a row. `judged`: these, and those that a person judged to be right; what nobody has
    judged counts as wrong.
    """

    recall: Share
    optional: Share
    precision: Share
    judged: Share
    store: Share
    kind: Share
    function: Share
    selector: Share


def summary(scored: Sequence[Scored], *, of_class: str | None = None, of_language: str | None = None) -> Summary:
    """Sum up matches, of one class or language if given. Accuracy is of matched rows that must be found."""
    matches = [
        match
        for each in scored
        for match in each.matches
        if match.row.site_class != "read"
        and (of_class is None or group(match.row.site_class) == of_class)
        and (of_language is None or language(match.row.path) == of_language)
    ]
    required = [match for match in matches if match.row.required]
    optional = [match for match in matches if not match.row.required]
    both = [(match.row, match.site) for match in required if match.site is not None]
    selected = [match for match in required if match.row.selector]

    def chosen(site: Site) -> bool:
        return (of_class is None or group(site.site_class) == of_class) and (
            of_language is None or language(site.path) == of_language
        )

    good = sum(chosen(site) for each in scored for site in each.matched)
    bad = sum(chosen(site) for each in scored for site in each.unmatched)
    return Summary(
        recall=Share(len(both), len(required)),
        optional=Share(sum(match.site is not None for match in optional), len(optional)),
        precision=Share(good, good + bad),
        judged=Share(good + sum(chosen(site) for each in scored for site in each.right), good + bad),
        store=Share(sum(same_store(row.store, site.store) for row, site in both), len(both)),
        kind=Share(sum(row.kind == site.kind for row, site in both), len(both)),
        function=Share(sum(row.function == site.function for row, site in both), len(both)),
        selector=Share(
            sum(match.site is not None and same_selector(match.row, match.site) for match in selected), len(selected)
        ),
    )
