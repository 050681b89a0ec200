"""Text of a launch: the live view in a terminal, plain lines elsewhere, and tables."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from kedge.cli.terminal import (
    ago,
    console,
    count,
    grid_of,
    listing,
    one_line,
    printable,
    say,
    table,
    utc,
    utc_short,
    weight,
    whisper,
)
from kedge.guard.launch_report import LaunchEvent, LaunchPlan, LaunchStatus, MetricStatus
from kedge.guard.recompute import Recomputed

_COLUMNS = ("metric", "e", "hold", "degrade", "roll back", "difference", "no worse", "missing")
_RIGHT = ("e", "hold", "degrade", "roll back", "no worse", "missing")
_RED, _YELLOW, _GREEN = "bold red", "yellow", "green"
_ENDED_BADLY = ("rolled back", "rolling back", "aborted")
_LARGE = 1e6


@contextmanager
def watching(name: str, *, silent: bool) -> Iterator[Callable[[LaunchEvent], None]]:
    """Yield a callback that shows a launch: live in a terminal, else one line for each event."""
    shown = console()
    if silent:
        yield lambda _event: None
        return
    if not shown.is_terminal:
        yield _print_event
        return
    with Live(console=shown, transient=True, redirect_stdout=False, auto_refresh=True) as live:
        live.update(_view(None, [], name))
        lines: list[str] = []

        def update(event: LaunchEvent) -> None:
            lines.extend(f"{utc_short(time.time())}  {text}" for text in event.texts)
            live.update(_view(event.status, lines[-5:], name))

        yield update


def _print_event(event: LaunchEvent) -> None:
    for text in event.texts:
        say(f"{utc_short(event.status.changed_at)} {event.status.name}: {text}")
    if not event.texts:
        (canary, baseline), held = event.status.sessions, "; ".join(event.status.why)
        worst = max((metric.e for metric in event.status.metrics), default=1.0)
        say(
            f"{utc_short(event.status.changed_at)} {event.status.name}: {canary} canary and {baseline} baseline "
            f"sessions, highest e = {worst:.3g}{f'; {held}' if held else ''}"
        )


def _view(status: LaunchStatus | None, lines: Sequence[str], name: str) -> RenderableType:
    if status is None:
        return Group(Spinner("dots", printable(f"{name}: starting")))
    parts: list[RenderableType] = [
        Text(printable(_headline(status)), style=f"bold {style_of(status)}"),
        Text(printable(_sessions(status))),
        grid_of(_COLUMNS, map(_row, status.metrics), right=_RIGHT),
        *(Text(printable(f"Waits: {why}"), style=_YELLOW) for why in status.why),
        Text(printable(f"Next: {status.next}")),
        *(Text(printable(line), style="dim") for line in lines),
    ]
    if status.notices_failed:
        parts.append(Text(printable(_notices(status)), style=_YELLOW))
    parts.append(Spinner("dots", Text("watching; Ctrl-C stops the pilot, and the launch can be resumed", style="dim")))
    return Group(*parts)


def print_status(status: LaunchStatus) -> None:
    """Print where a launch stands."""
    say(_headline(status), f"bold {style_of(status)}")
    say(f"  {_sessions(status)}")
    if status.metrics:
        table(_COLUMNS, map(_row, status.metrics), right=_RIGHT, importance=("metric", "e", "roll back", "difference"))
    for why in status.why:
        say(f"  {'Reason' if status.ended else 'Waits'}: {why}", _YELLOW)
    if not status.ended:
        say(f"  Next: {status.next}")
        by = "no pilot runs: nothing is watched until `kedge launch " + status.name + "`"
        said = f"a pilot runs at {status.pilot}" if status.pilot is not None else by
        say(f"  {said}", "dim" if status.pilot is not None else _YELLOW)
    if status.blocks:
        say("  Promotions of launches are paused until `kedge launch resume`.", _YELLOW)
    if status.notices_failed:
        say(f"  {_notices(status)}", _YELLOW)


def print_running(launches: Sequence[LaunchStatus], now: float) -> None:
    """Print a line for each launch that has not ended, or for which promotions wait."""
    for status in launches:
        if not status.ended:
            what = _headline(status).removeprefix(f"{status.name}: ")
            said = f"Launch: {status.name}, begun by {one_line(status.begun_by)} {ago(status.begun_at, now)}: {what}"
            say("; ".join([said, *_worst(status), *_held(status)]), style_of(status))
        elif status.blocks:
            say(f"Launch: {status.name} {status.phase}; no launch promotes anything until: kedge launch resume", _RED)


def _worst(status: LaunchStatus) -> list[str]:
    limited = [(each.e / each.limit, each.limit, each) for each in status.metrics if each.limit is not None]
    if not limited:
        return []
    _, limit, worst = max(limited, key=lambda each: each[0])
    return [f"highest e {number(worst.e)} of {worst.name}, rolls back at {limit:.4g}"]


def _held(status: LaunchStatus) -> list[str]:
    waits = [f"waits: {listing(status.why, 1)}"] if status.why else []
    more = "no pilot runs: kedge launch" if status.pilot is None else "more: kedge launch status"
    return [*waits, f"{more} {status.name}"]


def _notices(status: LaunchStatus) -> str:
    return f"{count(status.notices_failed, 'notice')} could not be sent: {status.notice_failure}"


def style_of(status: LaunchStatus) -> str:
    """Return the style of a launch's headline."""
    if status.phase in _ENDED_BADLY:
        return "red"
    return _GREEN if status.ended else _YELLOW if status.why else ""


def _headline(status: LaunchStatus) -> str:
    if status.phase == "rolled back":
        return f"{status.name}: rolled back; it had {weight(status.weight)} of the sessions"
    where = f", stage {status.stage} of {status.stages}" if status.phase == "ramp" else ""
    return f"{status.name}: {status.phase}{where}, {weight(status.weight)} of the sessions, level {status.level}"


def _sessions(status: LaunchStatus) -> str:
    canary, baseline = status.sessions
    said = f"{canary:,} canary and {baseline:,} baseline sessions"
    if any(status.needed):
        said += f"; this stage needs {status.needed[0]:,} and {status.needed[1]:,} more"
    return said


def _row(metric: MetricStatus) -> list[str | Text]:
    limit = metric.limit
    style = ""
    if metric.e >= metric.hold:
        style = _RED if limit is not None and metric.e >= metric.degrade else _YELLOW
    proven = "signal" if metric.proven is None or metric.needs is None else f"{number(metric.proven)}/{metric.needs:g}"
    missing, seen = sum(metric.missing), sum(metric.seen)
    return [
        metric.name,
        Text(number(metric.e), style=style),
        f"{metric.hold:g}",
        f"{metric.degrade:g}",
        "-" if limit is None else f"{limit:.4g}",
        f"{metric.low:+.3f} to {metric.high:+.3f}",
        proven,
        f"{missing / seen:.1%}" if seen else "-",
    ]


def number(e: float) -> str:
    """Return an e-value."""
    return f"{e:.2e}" if e >= _LARGE else f"{e:.3g}"


def print_list(launches: Sequence[LaunchStatus]) -> None:
    """Print all launches."""
    if not launches:
        say("No launch has begun yet; see `kedge launch --help`")
        return
    rows: list[list[str | Text]] = [
        [
            status.name,
            Text(status.phase, style=style_of(status)),
            weight(status.weight),
            f"{status.sessions[0]:,}/{status.sessions[1]:,}",
            utc_short(status.begun_at),
            status.pilot or "-",
            "; ".join(status.why) or "-",
        ]
        for status in launches
    ]
    columns = ("launch", "phase", "weight", "sessions", "UTC", "pilot", "why")
    table(columns, rows, right=("weight", "sessions"), importance=("launch", "phase", "weight", "sessions"))
    if any(status.blocks for status in launches):
        say("Promotions of launches are paused until `kedge launch resume`.", _YELLOW)


def print_plan(plan: LaunchPlan) -> None:
    """Print what a launch would do."""
    say(str(plan), f"bold {_GREEN if plan.ok else 'red'}")
    for gate in plan.gates:
        verdict = "skipped" if gate.skipped else "passed" if gate.passed else "FAILED"
        said = gate.name if gate.skipped else f"{gate.name}: {gate.detail}"
        say(f"  {verdict}: {said}", None if gate.passed else _RED)
    for place, step in enumerate(plan.steps, start=1):
        say(f"  {place}. {step}")
    say(f"  settings {plan.digest}", "dim")
    for warning in plan.warnings:
        say(f"  Warning: {warning}", _YELLOW)
    say("  Nothing was changed.", "dim")


def print_recomputed(found: Recomputed) -> None:
    """Print the result of a recomputation."""
    say(str(found), _GREEN if found.ok else _RED)


def print_resumed(names: Sequence[str]) -> None:
    """Print the launches that go on after a resume."""
    if not names:
        say("Promotions were not paused; nothing was changed")
    else:
        say(f"Resumed: {listing(names)}")


def say_stopped(status: LaunchStatus, target: str) -> str:
    """Return what Ctrl-C has left of a launch, and how to go on."""
    if status.ended:
        return f"stopped; the launch of {status.name} has ended ({status.phase})"
    whisper("")
    return (
        f"stopped the pilot; the launch of {status.name} stands at {status.phase}, {weight(status.weight)} of the "
        f"sessions, and nothing watches it now (since {utc(time.time())}). To go on: kedge launch {target}. To end it: "
        f"kedge launch abort {status.name}"
    )
