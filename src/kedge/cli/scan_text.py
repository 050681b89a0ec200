"""Text of a scan for people: stores with what can be taken back, the worst first, and where each is used."""

import datetime as dt
import re
from collections.abc import Iterable, Sequence

from rich.text import Text

from kedge.cli.tables import wrap
from kedge.cli.terminal import console, count, heading, listing, printable, say
from kedge.discovery.capabilities import is_stale
from kedge.discovery.scanning import Scan
from kedge.discovery.selecting import several
from kedge.discovery.sites import Evidence, Selector, Site
from kedge.discovery.stores import Store, sentence, store_of

_STYLES = {"none": "bold red", "unknown": "bold magenta", "copy": "bold yellow", "history": "bold yellow"}
_NARROWEST = 40
_MOST_OTHERS = 3
_MOST_PLACES = 2
_TOLD = frozenset({"decl", "attach", "pin"})  # classes whose evidence is shown: no code tells more
_PLAIN = re.compile(r".* runs the image |given to an agent or graph$|imported from |calls ")


def print_scan(found: Scan, new: Sequence[bool] | None, today: dt.date) -> None:
    """Print the stores with their sites, what was not read, facts too old by `today`, and the counts."""
    marks = [False] * len(found.sites) if new is None else new
    by_store: dict[str, list[tuple[Site, bool]]] = {}
    for site, mark in zip(found.sites, marks, strict=True):
        by_store.setdefault(store_of(site, found.stores).key, []).append((site, mark))
    for number, store in enumerate(found.stores):
        if number:
            say()
        _print_store(store, by_store[store.key])
    _print_unparsed(found)
    say()
    if stale := [store.name for store in found.stores if store.checked and is_stale(store.checked, today)]:
        say(f"Read more than 12 months ago: what is said of {listing(sorted(set(stale)))}. It may be wrong.", "yellow")
    if found.own:
        say(f"With {count(found.own, 'rule')} of kedge.toml or --rules.", "dim")
    if found.files:
        say(_counts(found, new), "bold")
    else:
        say("No file was read: the folder has none that the scan knows. Nothing is known of it.", "bold yellow")


def _print_store(store: Store, sites: Iterable[tuple[Site, bool]]) -> None:
    style = "bold red" if store.gone else _STYLES.get(store.capability, "bold green")
    places = sum(store.sites.values())
    title = "" if store.title.lower() == store.name else f"  {store.title}"
    _line(Text.assemble((printable(store.name), style), printable(title), f"  {count(places, 'place')}"), 2)
    _line(Text(f"  {sentence(store)}", "dim"), 2)
    for site, mark in sites:
        place = f"{site.path}:{site.line} {site.function}".rstrip()
        _line(Text(f"  {site.site_class:<6} {'new: ' if mark else ''}{place}"), 9)
        for note, is_fault in _notes(site):
            _line(Text(f"         {note}", "red" if is_fault else "dim"), 9)


def _notes(site: Site) -> Iterable[tuple[str, bool]]:
    """Yield what is said below a place, and whether it is a fault."""
    if site.selector is not None:
        yield _selected(site, site.selector), False
    if site.confidence == "low":
        yield "low confidence", False
    if site.site_class in _TOLD:
        places: dict[tuple[str, bool], list[str]] = {}
        for each in site.evidence:
            if not _PLAIN.match(each.text):
                places.setdefault((each.text, each.is_fault), []).extend(_elsewhere(site, each))
        for (text, is_fault), found in places.items():
            yield (f"{text}: {listing(found, _MOST_PLACES)}" if found else text), is_fault


def _elsewhere(site: Site, evidence: Evidence) -> tuple[str, ...]:
    """Return where a piece of evidence is, unless that is the place of the site, or its text says it."""
    if not evidence.path or evidence.path in evidence.text or (evidence.path, evidence.line) == (site.path, site.line):
        return ()
    if evidence.path == site.path:
        return (f"line {evidence.line}",)
    return (f"{evidence.path}:{evidence.line}",)


def _selected(site: Site, selector: Selector) -> str:
    if several(site, selector):
        return f"{' or '.join(selector.alternatives)}, by {selector.source}({selector.name})"
    own = {site.store, f"{site.store} {site.kind}", f"{site.store} at {site.path}:{site.line}"}
    others = [name for name in selector.alternatives if name not in own]
    default = selector.default and selector.value is None
    text = f"the default of {selector}" if default else f"if {selector}"
    if selector.default and not default:
        text += ", the default"
    if len(others) > _MOST_OTHERS:
        return f"{text}; else {listing(others, _MOST_OTHERS)}"
    return f"{text}; else {' or '.join(others)}" if others else text


def _line(text: Text, indent: int) -> None:
    """Print a line, wrapped at spaces below its own start; a word that is longer stays whole."""
    shown = console()
    plain = printable(text.plain)
    lead = len(plain) - len(plain.lstrip(" "))
    first, *more = wrap(plain[lead:], max(_NARROWEST, shown.width - max(lead, indent)))
    head = text if not more and plain == text.plain else Text(f"{' ' * lead}{first}", text.style)
    shown.print(head, soft_wrap=True)
    for line in more:
        shown.print(Text(f"{' ' * indent}{line}", text.style), soft_wrap=True)


def _print_unparsed(found: Scan) -> None:
    if not found.unparsed:
        return
    heading("Not read")
    reasons: dict[str, list[str]] = {}
    for each in found.unparsed:
        lines = f" (line {listing(map(str, each.lines), 3)})" if each.lines else ""
        reasons.setdefault(each.reason, []).append(f"{each.path}{lines}")
    for reason, paths in reasons.items():
        _line(Text(f"  {reason}: {listing(paths)}"), 4)


def _counts(found: Scan, new: Sequence[bool] | None) -> str:
    worst = sum(store.capability == "none" or bool(store.gone) for store in found.stores)
    unknown = sum(store.capability == "unknown" and not store.gone for store in found.stores)
    text = f"{count(len(found.sites), 'place')} of {count(len(found.stores), 'store')}"
    text += f" in {count(found.files, 'file')} ({found.lines:,} lines)"
    text += f"; {worst:,} cannot be taken back" if worst else ""
    text += f"; of {unknown:,} it is not known" if unknown else ""
    text += "" if new is None else f"; {sum(new):,} new"
    return f"{text}."
