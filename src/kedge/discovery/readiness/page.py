"""HTML page of a readiness report: one file, without scripts and without anything from elsewhere."""

from __future__ import annotations

import datetime as dt
from html import escape

from kedge.discovery.readiness.assess import Readiness
from kedge.discovery.readiness.text import seconds_text, span_text, way_text, writers_text
from kedge.model.readiness import Prediction, StoreReadiness
from kedge.support.display import count

_FIRST = 5  # changes that are shown at once; the others are folded
_WRITERS = 3
_COLUMNS = (
    ("store", 18), ("score", 7), ("way back", 14), ("goes back together", 13), ("lost with it", 27), ("written by", 21)
)  # fmt: skip
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #d5dbe3; --soft: #f3f5f8; --good: #1d7a46;
  --mid: #9a6a00; --bad: #b3261e; --bar: #3b6fb6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --paper: #14181f; --line: #343c48; --soft: #1d232c;
  --good: #6fce97; --mid: #e5b454; --bad: #ff8a80; --bar: #7fb0f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.lead { margin: .2rem 0 0; opacity: .8; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem;
  margin-top: 1.4rem; }
.figure { border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; background: var(--soft); }
.figure b { display: block; font-size: 1.7rem; line-height: 1.2; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; table-layout: fixed; font-size: .92rem; }
th, td { overflow-wrap: anywhere; text-align: left; vertical-align: top;
  padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; white-space: nowrap; }
.good { color: var(--good); } .mid { color: var(--mid); } .bad { color: var(--bad); }
code { font-size: .9em; overflow-wrap: anywhere; } ol { padding-left: 1.4rem; }
li { margin: .35rem 0; overflow-wrap: anywhere; }
.bars { display: grid; grid-template-columns: minmax(7rem, 14rem) 1fr minmax(5rem, auto); gap: .35rem .8rem;
  align-items: center; }
.bar { height: .8rem; background: var(--bar); border-radius: .2rem; min-width: 2px; }
.small { font-size: .85rem; opacity: .8; }
summary { cursor: pointer; }
@media (max-width: 50rem) { .scroll table { width: 52rem; } }
@media print { body { max-width: none; } tr, li { break-inside: avoid; } }
"""


def page(found: Readiness) -> str:
    """Return the report as one HTML document."""
    at = dt.datetime.fromtimestamp(found.at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    score = "not known" if found.score is None else f"{found.score} of 100"
    return "".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>Rollback readiness of {escape(found.root)}: {score}</title>\n",
        f"<style>{_STYLE}</style>\n</head>\n<body>\n",
        f"<header><h1>Rollback readiness: {score}</h1>\n",
        f'<p class="lead">{escape(found.root)}, {at}; {_read(found)}</p></header>\n<main>\n',
        _figures(found),
        _never(found),
        "<h2>Change first</h2>\n" + _todo(found),
        "<h2>Stores, the worst first</h2>\n" + _stores(found.stores),
        "<h2>How long a rollback takes</h2>\n" + _times(found),
        _references(found),
        _assumed(found),
        "</main>\n</body>\n</html>\n",
    ])  # fmt: skip


def _read(found: Readiness) -> str:
    return f"{count(found.files, 'file')} read" + (f", {found.unread:,} not read" if found.unread else "")


def _figures(found: Readiness) -> str:
    total, noticed = found.prediction.total, seconds_text(found.prediction.detect.likely)
    worst = seconds_text(total.worst)
    figures = [
        (str(len(found.stores)), "stores hold state of agents"),
        (str(len(found.never)), "of them cannot be taken back"),
        (
            seconds_text(total.likely),
            f"likely time of a rollback, {noticed} of it to notice; worst {worst}",
        ),
        (seconds_text(found.with_kedge.total.likely), f"with these stores in Kedge, {noticed} of it to notice"),
    ]
    cells = "".join(f'<div class="figure"><b>{escape(value)}</b>{escape(label)}</div>\n' for value, label in figures)
    return f'<div class="figures">\n{cells}</div>\n'


def _never(found: Readiness) -> str:
    said = f"<p><b>Cannot be taken back:</b> {escape(', '.join(found.never))}.</p>\n" if found.never else ""
    emptied = [each.store for each in found.stores if each.span is not None and each.span.worst == 0]
    if emptied:
        said += f"<p><b>Lost at a restart:</b> {escape(', '.join(emptied))}.</p>\n"
    if found.left_out:
        names = escape(", ".join(found.left_out))
        said += f"<p class=small>Left out, as no agent reads them back: {names}.</p>\n"
    return said


def _todo(found: Readiness) -> str:
    if not found.todo:
        return "<p>Nothing.</p>\n" if found.stores else "<p>No state was found: nothing is known.</p>\n"
    lines = [
        f"<li>{escape(fix.what)}{f' <code>{escape(fix.where)}</code>' if fix.where else ''}"
        f' <span class="small">+{fix.points} points</span></li>\n'
        for fix in found.todo
    ]
    first, more = "".join(lines[:_FIRST]), "".join(lines[_FIRST:])
    rest = f'<details><summary>{len(lines) - _FIRST} more</summary>\n<ol start="{_FIRST + 1}">\n{more}</ol></details>\n'
    return f"<ol>\n{first}</ol>\n" + (rest if more else "")


def _stores(stores: tuple[StoreReadiness, ...]) -> str:
    head = "".join(
        f"<th{' class=number' if name == 'score' else ''} style='width: {width}%'>{name}</th>"
        for name, width in _COLUMNS
    )
    rows = "".join(
        f"<tr><td><b>{escape(each.store)}</b><br><span class=small>{escape(each.kind)}</span></td>"
        f'<td class="number {_grade(each.score)}">{each.score}</td>'
        f"<td>{escape(way_text(each))}<br><span class=small>{escape(span_text(each.span))}</span></td>"
        f"<td>{escape(each.unit)}</td><td>{escape(each.lost) or 'nothing'}"
        f"{''.join(f'<br><span class=small>{escape(text)}</span>' for text in each.conditions)}</td>"
        f"<td class=small>{escape(writers_text(each, _WRITERS)).replace('; ', '<br>')}</td></tr>\n"
        for each in stores
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'


def _times(found: Readiness) -> str:
    parts = _parts(found.prediction)
    most = max((seconds for _, seconds in parts), default=0.0) or 1.0
    bars = "".join(
        f'<div>{escape(name)}</div><div><div class="bar" style="width: {100 * seconds / most:.1f}%"></div></div>'
        f"<div>{escape(seconds_text(seconds))}</div>\n"
        for name, seconds in parts
    )
    slow = (
        f"<p>The slowest store is {escape(found.prediction.dominating)}.</p>\n" if found.prediction.dominating else ""
    )
    within = f'<p class="small">The service level is {escape(seconds_text(found.within))}.</p>\n'
    return f'<div class="bars">\n{bars}</div>\n{slow}{within}'


def _parts(prediction: Prediction) -> list[tuple[str, float]]:
    stores = sorted(prediction.stores.items(), key=lambda item: -item[1].likely)
    return [
        ("detect", prediction.detect.likely),
        *((name, span.likely) for name, span in stores),
        ("restart", prediction.restart.likely),
        ("agreement of all agents", prediction.agree.likely),
    ]


def _references(found: Readiness) -> str:
    if not found.references:
        return ""
    lines = "".join(
        f"<li>{escape(each.store)} <code>{escape(each.path)}:{each.line}</code></li>\n" for each in found.references
    )
    said = "<h2>References that can move</h2>\n<p>After a rollback they may name something else.</p>\n"
    return f"{said}<ul>\n{lines}</ul>\n"


def _assumed(found: Readiness) -> str:
    read = [f"traces: {found.traces}"] if found.traces else []
    lines = [
        *read,
        *found.assumed,
        *(f"{each.store}: {text}" for each in found.stores for text in each.assumed),
        *found.live,
    ]
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    return f"<h2>Assumed, and looked at</h2>\n<ul class=small>\n{items}</ul>\n"


def _grade(score: int) -> str:
    return "good" if score >= 80 else "mid" if score >= 50 else "bad"  # noqa: PLR2004


__all__ = ["page"]
