"""Parsers for points in time, views and weights."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from kedge.errors import InvalidValue
from kedge.face import Kedge
from kedge.model.durations import seconds_of
from kedge.turns.view import Point, ReadView

NOW = "now"
POINT_HELP = "a snapshot name, a seq, a time (2026-03-03T09:00, UTC by default) or an age (2h)."


def units_of(flags: list[str] | None) -> tuple[str, ...] | None:
    """Return the units of a repeated option, @FILE read line by line; None where it was not given."""
    if flags is None:
        return None
    found: list[str] = []
    for flag in flags:
        if not flag.startswith("@"):
            found.append(flag)
            continue
        try:
            found += filter(None, map(str.strip, Path(flag[1:]).read_text("utf-8").splitlines()))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidValue(f"cannot read the list {flag[1:]} ({error}); check the path") from None
    return tuple(found)


def point_of(k: Kedge, text: str) -> Point | None:
    """Return the point that a text names, or None for now. A snapshot name takes precedence."""
    if any(snapshot.name == text for snapshot in k.snapshots()):
        return text
    if text.strip().lower() == NOW:
        return None
    if text.strip().isdecimal():
        return int(text)
    back = seconds_of(text.strip().lower().removesuffix("ago"))
    if back is not None:
        return datetime.now(UTC) - timedelta(seconds=back)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return text  # the library raises an error that suggests similar snapshot names
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def view_at(k: Kedge, at: str | None, session: str | None = None, deployment: str | None = None) -> ReadView:
    """Return the view that --at, --session and --deployment name."""
    point = None if at is None else point_of(k, at)
    if point is None:
        return k.view(session=session, deployment=deployment)
    return k.at(point, session=session, deployment=deployment)


def new_session_view(k: Kedge, at: str | None) -> ReadView:
    """Return the view of every new session, at the point that --at names."""
    return k.new_session_view(None if at is None else point_of(k, at))


def view_of(k: Kedge, text: str) -> ReadView:
    """Return the view that a text names: POINT, session:NAME[@POINT] or deployment:NAME[@POINT]."""
    kind, separator, name = text.partition(":")
    if not separator or kind not in {"session", "deployment"} or any(s.name == text for s in k.snapshots()):
        return view_at(k, text)
    at = None
    if "@" in name:
        head, _, tail = name.rpartition("@")
        if not isinstance(point_of(k, tail), str) or any(s.name == tail for s in k.snapshots()):
            name, at = head, tail
    if not name:
        raise InvalidValue(f"no {kind} name in {text!r}; write {kind}:NAME")
    return view_at(k, at, session=name) if kind == "session" else view_at(k, at, deployment=name)


def weight_of(text: str) -> float:
    """Return a canary weight from 0.1 or 10%; raise `InvalidValue` if it is not a number."""
    number, percent = (text.strip()[:-1], 100.0) if text.strip().endswith("%") else (text, 1.0)
    try:
        return float(number) / percent
    except ValueError:
        raise InvalidValue(
            f"invalid weight {text!r}: must be a number; write 0.1 or 10% for one session in ten"
        ) from None
