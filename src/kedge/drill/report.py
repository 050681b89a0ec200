"""Text of a drill's report: story, measurements, checks and verdict."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kedge.drill.results import AutomaticReport, Check, HelpdeskReport, InPlaceReport, Moment, Quality

_BAR_CHARACTERS = 24
_POOR_SHARE = 0.5


def print_report(report: HelpdeskReport | InPlaceReport | AutomaticReport, console: Console) -> None:
    """Print a report on a console."""
    if isinstance(report, HelpdeskReport):
        console.print(_helpdesk(report))
    else:
        console.print(_automatic(report) if isinstance(report, AutomaticReport) else _in_place(report))


def _automatic(report: AutomaticReport) -> RenderableType:
    killed = f"Its pilot was killed at {len(report.killed_at)} steps. " if report.killed_at else ""
    return Group(
        _heading("What happened"),
        Text(
            f"{report.release}, a hastier prompt, was launched from a release file by a pilot in a process of its own. "
            f"{report.canary_sessions} sessions saw it, {report.baseline_sessions} beside them did not. {killed}"
            "Nobody decided anything."
        ),
        _heading("Timeline"),
        _timeline(report.timeline),
        _heading("Answer quality"),
        _qualities(report.quality),
        _heading("Duration"),
        Text(
            f"level recognized by a turn {_maybe(report.level_recognition_seconds)} after its commit · rollback "
            f"committed {_maybe(report.rollback_commit_seconds)} after the decision · {report.replayed} inputs replayed"
        ),
        _heading("Checks"),
        _checks(report.checks),
        _verdict(
            report,
            f"PASSED. {report.release} was found, degraded, rolled back and replayed with no human step. "
            f"Drill time {report.seconds:.0f} s.",
        ),
    )


def _timeline(moments: Sequence[Moment]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("seconds", justify="right")
    table.add_column("what")
    table.add_column("canary", justify="right")
    table.add_column("baseline", justify="right")
    table.add_column("e", justify="right")
    for moment in moments:
        canary, baseline = ("", "") if moment.sessions is None else map(str, moment.sessions)
        table.add_row(f"{moment.at:.2f}", moment.what, canary, baseline, "" if moment.e is None else f"{moment.e:,.4g}")
    return table


def _qualities(found: Sequence[Quality]) -> Table:
    table = _table("when", "who", "right", "of", "")
    for quality in found:
        bar = "█" * round(_BAR_CHARACTERS * quality.share)
        table.add_row(
            quality.when, quality.who, str(quality.right), str(quality.questions),
            f"{bar:<{_BAR_CHARACTERS}} {quality.share:4.0%}",
        )  # fmt: skip
    return table


def _maybe(seconds: float | None) -> str:
    return "at no time" if seconds is None else _seconds(seconds)


def _helpdesk(report: HelpdeskReport) -> RenderableType:
    return Group(
        _heading("What happened"),
        Text(_story(report)),
        _heading("Answer quality"),
        _quality(report),
        _heading("Contamination"),
        Text(_spread(report)),
        _heading("Effect of the rollback, in the view of a session inside the release"),
        _stores(report),
        _heading("Duration"),
        Text(_times(report)),
        _heading("Indicators"),
        _indicators(report),
        _heading("Checks"),
        _checks(report.checks),
        _verdict(
            report,
            f"PASSED. {report.release} failed in production and was rolled back without a trace in "
            f"{_seconds(report.rollback_completion_seconds)}. All user messages are kept, and the affected questions "
            f"are answered again. Drill time {report.seconds:.0f} s.",
        ),
    )


def _story(report: HelpdeskReport) -> str:
    return (
        f"A helpdesk of five agents answers questions about {report.documents:,} docstrings of Python {report.python}: "
        f"{report.questions} questions in {report.sessions} sessions over four days, {report.threads} at a time, "
        f"in {report.turns:,} turns. The reviewer runs in other processes. In the first night {report.release} becomes "
        f"a canary at {report.weight:.0%}, with a cheaper embedder and a hastier prompt; {report.canary_sessions} "
        f"sessions see it. Two days later it is rolled back, and the questions asked inside it are answered again."
    )


def _spread(report: HelpdeskReport) -> str:
    outside = [found for found in report.contamination if not found.in_release and found.writes]
    inside = sum(found.writes for found in report.contamination if found.in_release)
    names = ", ".join(f"{found.agent} ({found.writes})" for found in outside)
    return (
        f"The release and its pipeline wrote {inside:,} values. Agents that were not redeployed wrote "
        f"{sum(found.writes for found in outside):,} more under its influence: {names}. "
        f"Redeploying the old version would have kept all of them."
    )


def _times(report: HelpdeskReport) -> str:
    return (
        f"plan {_seconds(report.plan_seconds)} · rollback commit {_seconds(report.rollback_commit_seconds)} · "
        f"commit and verification {_seconds(report.rollback_completion_seconds)} · "
        f"replay of {report.replayed} inputs {_seconds(report.replay_seconds)}"
    )


def _quality(report: HelpdeskReport) -> Table:
    table = _table("when", "who", "right", "of", "", "same questions without the release")
    for quality in report.quality:
        bar = "█" * round(_BAR_CHARACTERS * quality.share)
        share = Text(
            f"{bar:<{_BAR_CHARACTERS}} {quality.share:4.0%}", style="red" if quality.share < _POOR_SHARE else "green"
        )
        without = "" if quality.share_in_twin is None else f"{quality.share_in_twin:.0%}"
        table.add_row(quality.when, quality.who, str(quality.right), str(quality.questions), share, without)
    return table


def _stores(report: HelpdeskReport) -> Table:
    table = _table("store", "contaminated writes", "keys removed", "fell back", "restored", "unchanged")
    for store in report.stores:
        numbers = (store.contaminated_writes, store.vanished, store.fell_back, store.came_back, store.stayed)
        table.add_row(store.store, *(f"{number:,}" for number in numbers))
    return table


def _indicators(report: HelpdeskReport) -> Table:
    table = _table("indicator", "value")
    for name, value in report.indicators.items():
        table.add_row(name, "not measured: no members" if value is None else f"{value:,.4g}")
    return table


def _in_place(report: InPlaceReport) -> RenderableType:
    table = _table("store", "space", "")
    for store in report.stores:
        outcome = Text("reversible", "green") if store.reversible else Text(f"NOT REVERSIBLE: {store.problem}", "red")
        table.add_row(store.store, store.space, outcome)
    broken = ", ".join(sorted({store.store for store in report.stores if not store.reversible}))
    return Group(
        _heading("What happened"),
        Text(
            f"{report.deployment} was staged in {report.url}, hidden from all readers. It wrote to every store and "
            f"collection, was rolled back, reinstated, rolled back again, verified and purged "
            f"({report.erased_writes} writes erased). Live readers read {report.reads_by_live_readers:,} times."
        ),
        _heading("Stores"),
        table,
        _heading("Checks"),
        _checks(report.checks),
        _verdict(
            report,
            f"PASSED. Every store of this database is reversible. The rollback was committed in "
            f"{_seconds(report.rollback_commit_seconds or 0.0)}. Drill time {report.seconds:.1f} s.",
            f"Not reversible: {broken}. " if broken else "",
        ),
    )


def _checks(checks: Sequence[Check]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column()
    for check in checks:
        mark = Text("pass", "green") if check.passed else Text("FAIL", "bold red")
        table.add_row(mark, Text.assemble(check.claim, "\n", (check.detail, "dim" if check.passed else "red")))
    return table


def _verdict(report: HelpdeskReport | InPlaceReport | AutomaticReport, good: str, first: str = "") -> Panel:
    if report.passed:
        return Panel(Text(good, "bold green"), border_style="green", title="verdict")
    failed = ", ".join(check.name for check in report.checks if not check.passed)
    bad = f"FAILED. {first}{f'Failed checks: {failed}. ' if failed else ''}Do not rely on rollbacks of this database."
    return Panel(Text(bad, "bold red"), border_style="red", title="verdict")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        is_number = column in {"right", "of"} or (columns[0] == "store" and place > 0)
        table.add_column(column, justify="right" if is_number and columns[1] != "space" else "left")
    return table


def _heading(text: str) -> Text:
    return Text(f"\n{text}", "bold")


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


__all__ = ["print_report"]
