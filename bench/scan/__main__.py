"""`python -m bench.scan --corpus DIR`: scan public repositories, and score the scan against what a person found.

DIR holds the repositories at the commits that bench/scan/corpus.txt names, as OWNER/NAME or OWNER+NAME.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.scan.score import Match, Scored, Share, Summary, same_selector, same_store, score, summary
from bench.scan.truth import CORPUS, JUDGED, Repository, judgements, repositories
from kedge.discovery.scanning import scan
from kedge.discovery.sites import Site

CLASSES = ("bind", "write", "attach+decl+pin")
LANGUAGES = ("Python", "TypeScript", "notebooks", "infrastructure")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, print the table, write JSON."""
    options = _parser().parse_args(arguments)
    every = list(repositories(CORPUS.read_text("utf-8")))
    wanted = [each for each in every if not options.repository or each.name in options.repository]
    unknown = set(options.repository) - {each.name for each in every}
    if unknown:
        print(f"not in the corpus: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    found = {each.name: folder for each in wanted if (folder := _folder(options.corpus, each)) is not None}
    missing = [each.name for each in wanted if each.name not in found]
    started = time.perf_counter()
    judged = list(judgements(JUDGED.read_text("utf-8")))
    scored = [score(each, scan(found[each.name]).sites, judged) for each in wanted if each.name in found]
    seconds = time.perf_counter() - started
    print(f"{len(scored)} of {len(every)} repositories scanned in {seconds:.1f} s")
    for name in missing:
        print(f"not scored, its folder is not in {options.corpus}: {name}")
    document = _document(scored, missing)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    _print_table(document["parts"])
    if options.misses:
        _print_misses(scored)
    return 1 if missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scan", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, metavar="DIR")
    parser.add_argument("--repository", action="append", default=[], metavar="OWNER/NAME", help="repeatable")
    parser.add_argument("--misses", action="store_true", help="list missed rows, wrong labels, unmatched findings")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def _folder(corpus: Path, repository: Repository) -> Path | None:
    owner, name = repository.name.split("/")
    return next((folder for folder in (corpus / f"{owner}+{name}", corpus / owner / name) if folder.is_dir()), None)


def _document(scored: Sequence[Scored], missing: Sequence[str]) -> dict[str, Any]:
    parts: dict[str, Summary] = {"all": summary(scored)}
    parts |= {each: summary(scored, of_class=each) for each in CLASSES}
    parts |= {each: summary(scored, of_language=each) for each in LANGUAGES}
    for each in LANGUAGES[:2]:
        parts |= {f"{each} {name}": summary(scored, of_class=name, of_language=each) for name in CLASSES}
    parts |= {each.repository: summary([each]) for each in scored}
    return {
        "repositories": [each.repository for each in scored],
        "missing": list(missing),
        "parts": {name: asdict(part) for name, part in parts.items()},
    }


def _print_table(parts: dict[str, Any]) -> None:
    columns = ("recall", "precision", "judged", "store", "kind", "function", "selector", "optional")
    print(f"{'':<28}" + "".join(f"{column:>16}" for column in columns))
    for name, part in parts.items():
        print(f"{name[-27:]:<28}" + "".join(f"{_cell(Share(**part[column])):>16}" for column in columns))


def _cell(share: Share) -> str:
    return "-" if share.ratio is None else f"{share.ratio:.3f} {share.part}/{share.whole}"


def _print_misses(scored: Sequence[Scored]) -> None:
    for each in scored:
        lines = [line for match in each.matches if match.row.required for line in _faults(match)]
        lines += [f"  {_verdict(site, each):<10} {_site(site)}" for site in each.unmatched]
        if lines:
            print(f"\n{each.repository}")
            print("\n".join(lines))


def _verdict(site: Site, scored: Scored) -> str:
    return "right" if site in scored.right else "not judged" if site in scored.open else "wrong"


def _faults(match: Match) -> list[str]:
    row, site = match.row, match.site
    truth = f"{row.path}:{row.line} {row.site_class} {row.store} {row.kind} {row.function}"
    if site is None:
        return [f"  missed     {truth}"]
    wrong = [
        label
        for label, right in (
            ("store", same_store(row.store, site.store)),
            ("kind", row.kind == site.kind),
            ("function", row.function == site.function),
            ("class", row.site_class == site.site_class),
            ("selector", not row.selector or same_selector(row, site)),
        )
        if not right
    ]
    note = f" [{row.selector}]" if "selector" in wrong else ""
    return [f"  {'+'.join(wrong):<10} {truth}{note}\n{'':13}{_site(site)}"] if wrong else []


def _site(site: Site) -> str:
    chosen = "" if site.selector is None else f" {site.selector} of {', '.join(site.selector.alternatives)}"
    return f"{site.path}:{site.line} {site.site_class} {site.store} {site.kind} {site.function}{chosen}"


if __name__ == "__main__":
    raise SystemExit(main())
