"""Command scan: find the places of a repository where agent state persists."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kedge import __version__
from kedge.cli.app import DISCOVER, app
from kedge.cli.files import write_file
from kedge.cli.options import Json
from kedge.cli.scan_text import print_scan
from kedge.cli.terminal import count, emit, indented, listing, say, spinner
from kedge.discovery.cyclonedx import cyclonedx
from kedge.discovery.document import document
from kedge.discovery.fingerprints import baseline_of, decode_baseline, encode_baseline
from kedge.discovery.sarif import sarif
from kedge.discovery.scan.caching import default_folder
from kedge.discovery.scanning import Scan
from kedge.discovery.scanning import scan as scan_folder
from kedge.discovery.sites import Site
from kedge.discovery.stores import CLASSES, WORST_FIRST, Store, store_of
from kedge.errors import InvalidValue

FOUND = 3
_NEW, _ANY = "new", "any"


@app.command(rich_help_panel=DISCOVER)
def scan(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of a repository.")] = Path(),
    *,
    as_json: Json = False,
    sarif_file: Annotated[
        Path | None, typer.Option("--sarif", metavar="FILE", help="Write SARIF 2.1.0, for a code host.")
    ] = None,
    cyclonedx_file: Annotated[
        Path | None, typer.Option("--cyclonedx", metavar="FILE", help="Write CycloneDX 1.6.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", metavar="FILE", help="Known places: the others are new.")
    ] = None,
    write_baseline: Annotated[
        Path | None, typer.Option("--write-baseline", metavar="FILE", help="Write the places found as a baseline.")
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="WORDS",
            help="Exit with 3 if a place matches one of these: new, any, a class (write) or a capability (none,copy). "
            "With --baseline, new places only.",
        ),
    ] = None,
    env: Annotated[
        list[Path] | None,
        typer.Option("--env", metavar="FILE", help="Variables that select stores: .env or Compose file. Repeatable."),
    ] = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option("--rules", metavar="FILE", help="More rules, as in kedge.toml of PATH. Repeatable."),
    ] = None,
    tests: Annotated[bool, typer.Option("--tests", help="Read test files too.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Do not use results of earlier scans.")] = False,
) -> int:
    r"""List where agent state persists in a repository, and what of it can be taken back.

    Reads the files; imports and runs nothing of them. Needs the extra kedge\[scan].
    """
    wanted = frozenset() if fail_on is None else _words(fail_on, with_baseline=baseline is not None)
    known = None if baseline is None else decode_baseline(_bytes(baseline), str(baseline))
    with spinner("scanning", silent=as_json):
        found = scan_folder(
            path, env=env or (), rules=rules or (), tests=tests, cache=None if no_cache else default_folder()
        )
    if wanted and not found.files:
        raise InvalidValue(f"no file was read in {path}, so that --fail-on cannot tell: name the folder of the code")
    new = None if known is None else known.new(found.sites)
    if sarif_file is not None:
        write_file(sarif_file, indented(sarif(found, new, version=__version__)) + b"\n")
    if cyclonedx_file is not None:
        write_file(cyclonedx_file, indented(cyclonedx(found, version=__version__)) + b"\n")
    if write_baseline is not None:
        write_file(write_baseline, encode_baseline(baseline_of(found.sites)))
    failing = _failing(found, wanted, new)
    if as_json:
        emit(document(found, new) | {"failing": len(failing)})
    else:
        print_scan(found, new, dt.datetime.now(dt.UTC).date())
        if fail_on is not None:
            _print_failing(failing, fail_on, len(found.unparsed))
    return FOUND if failing else 0


def _words(text: str, *, with_baseline: bool) -> frozenset[str]:
    words = frozenset(word.strip() for word in text.split(",") if word.strip())
    legal = (_NEW, _ANY, *CLASSES, *WORST_FIRST)
    if not words:
        raise InvalidValue(f"--fail-on has no word: give some of {', '.join(legal)}")
    if wrong := sorted(words - set(legal)):
        raise InvalidValue(f"invalid --fail-on {listing(wrong)}: must be of {', '.join(legal)}")
    if _NEW in words and not with_baseline:
        raise InvalidValue("--fail-on new needs to know what is not new: give --baseline FILE")
    return words


def _failing(found: Scan, words: frozenset[str], new: Sequence[bool] | None) -> list[Site]:
    """Return the sites for which the command fails; with a baseline, none of those that it has."""
    chosen = found.sites if new is None else [site for site, each in zip(found.sites, new, strict=True) if each]
    return [site for site in chosen if words & {_NEW, _ANY, site.site_class, _reach(store_of(site, found.stores))}]


def _reach(store: Store) -> str:
    return "none" if store.gone else store.capability


def _print_failing(failing: Sequence[Site], text: str, unread: int) -> None:
    if failing:
        verb = "matches" if len(failing) == 1 else "match"
        say(f"Failed: {count(len(failing), 'place')} {verb} --fail-on {text}.", "bold red")
    elif unread:
        say(f"Passed: no place matches --fail-on {text} in what was read; {unread:,} not read.", "bold green")
    else:
        say(f"Passed: no place matches --fail-on {text}.", "bold green")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidValue(f"cannot read {path} ({error.strerror}): check the path") from None
