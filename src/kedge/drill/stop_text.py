"""Text of the stop drill's evidence, for people: one page of Markdown."""

from collections.abc import Iterable
from datetime import UTC, datetime

from kedge.drill.stopping import StopDrillReport


def evidence_text(report: StopDrillReport) -> str:
    """Return the evidence as Markdown."""
    return "\n".join([*_head(report), *_latency(report), *_acts(report), *_authority(report), *_checks(report)]) + "\n"


def _head(report: StopDrillReport) -> Iterable[str]:
    began = datetime.fromtimestamp(report.began, UTC).isoformat(timespec="seconds")
    yield "# Evidence of a stop drill"
    yield ""
    yield f"- Verdict: **{'passed' if report.passed else 'FAILED'}**"
    acts = f"{report.processes} processes of agents act"
    yield f"- Scenario: {acts}; everything is turned off; a person releases the stop"
    yield f"- Database: {report.url} (a temporary one), Python {report.python}"
    yield f"- Began: {began}, took {report.seconds:.1f} s"
    yield f"- Authority: {report.authority} stopped, and lifted the stop"


def _latency(report: StopDrillReport) -> Iterable[str]:
    yield from ("", "## Latency", "", "| what | ms |", "| --- | --- |")
    yield f"| commit of the stop | {_ms(report.level_commit_seconds)} |"
    for name, seconds in report.level_recognition_seconds.items():
        yield f"| confirmed, {name} | {_ms(seconds)} |"
    for name, seconds in report.recognition_by_member.items():
        yield f"| confirmed by {name} | {_ms(seconds)} |"
    yield f"| last act that was permitted, after the commit | {_ms(report.last_act_seconds)} |"
    if report.out_of_band is not None:
        yield f"| by file, the database {report.out_of_band.database}: slowest process | {_ms(_slowest(report))} |"
    yield ""
    yield f"Unconfirmed: {', '.join(report.unconfirmed) or 'none'}."


def _acts(report: StopDrillReport) -> Iterable[str]:
    yield from ("", "## Acts", "")
    yield f"- Before the commit: {report.acts_before}"
    yield f"- After a process had confirmed: {report.acts_after_recognition}"
    yield f"- In the log after the commit, with an older epoch: {report.level_leaks_total}"
    yield f"- In flight at the commit: {len(report.in_flight)}"
    yield from (f"  - {act}" for act in report.in_flight)


def _authority(report: StopDrillReport) -> Iterable[str]:
    yield from (
        "",
        "## Negative test: agents try to release the stop",
        "",
        "| process | attempt | outcome |",
        "| --- | --- | --- |",
    )
    yield from (f"| {one.member} | {one.attempt} | {one.outcome} |" for one in report.negative_test)
    yield from ("", "## Recovery", "")
    if report.recovery is None:
        yield "Not signed off."
        return
    yield f"- Signed off by {report.recovery.signed_off_by}"
    yield f"- Acts since, by process: {', '.join(f'{name} {acts}' for name, acts in report.recovery.acts.items())}"
    yield f"- Findings of fsck: {report.recovery.findings}"


def _checks(report: StopDrillReport) -> Iterable[str]:
    yield from ("", "## Checks", "")
    yield from (f"- [{'x' if one.passed else ' '}] {one.claim} ({one.detail})" for one in report.checks)


def _slowest(report: StopDrillReport) -> float | None:
    return None if report.out_of_band is None else max(report.out_of_band.seconds.values(), default=None)


def _ms(seconds: float | None) -> str:
    return "not measured" if seconds is None else f"{seconds * 1e3:.1f}"
