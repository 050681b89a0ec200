"""Settings of a session, fixed at its first turn: when its view is refreshed, and the unit that it is drawn by."""

from typing import Any

import msgspec

from kedge.errors import InvalidValue, SessionBegun
from kedge.model.checks import SECONDS_MAX, check_name
from kedge.model.numbers import as_real
from kedge.support.display import brief

NEVER, PROMOTED = "never", "promoted"
Refresh = str | float


class SessionSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a session remembers beside its view.

    `refresh`: "never", "promoted", or the seconds after which its view is fixed anew. `unit_id`: what canaries draw by
    in place of its name. `forked_from`: the session that it is a fork of, and the seq of the fork.
    """

    refresh: Refresh = NEVER
    unit_id: str | None = None
    forked_from: tuple[str, int] | None = None

    def encode(self) -> str | None:
        """Return the stored form; None for the defaults."""
        return None if self == DEFAULTS else msgspec.json.encode(self).decode()


DEFAULTS = SessionSettings()
_decoder = msgspec.json.Decoder(SessionSettings)


def decode_settings(stored: str | None) -> SessionSettings:
    """Return settings from their stored form."""
    return DEFAULTS if stored is None else _decoder.decode(stored)


class Asked(msgspec.Struct, frozen=True):
    """The settings that a turn asks for; None leaves a setting as the session has it."""

    refresh: Refresh | None = None
    unit_id: str | None = None

    def settings(self) -> SessionSettings:
        """Return the settings of a session that begins so."""
        return SessionSettings(NEVER if self.refresh is None else self.refresh, self.unit_id)

    def check(self, session: str, there: SessionSettings) -> None:
        """Raise `SessionBegun` where a session has other settings than these."""
        for name in ("refresh", "unit_id"):
            asked, found = getattr(self, name), getattr(there, name)
            if asked is not None and asked != found:
                began = f"without {name}=" if found is None else f"with {name}={found!r}"
                raise SessionBegun(
                    f"session {brief(session)} began {began}, and this turn gives {brief(asked)}: a session keeps the "
                    f"settings of its first turn; leave {name}= out, or use another session"
                )


NOTHING_ASKED = Asked()


def check_asked(has_session: bool, refresh: Any, unit_id: Any) -> Asked:  # noqa: FBT001 - it is one question
    """Return the settings that a turn asks for, or raise `InvalidValue`."""
    if refresh is None and unit_id is None:
        return NOTHING_ASKED
    asked = Asked(
        None if refresh is None else check_refresh(refresh), None if unit_id is None else check_name("unit_id", unit_id)
    )
    if not has_session:
        raise InvalidValue("refresh= and unit_id= are settings of a session, and this turn has none; give session=")
    return asked


def check_refresh(refresh: Any) -> Refresh:
    """Return a refresh policy, or raise `InvalidValue`."""
    if isinstance(refresh, str) and refresh in {NEVER, PROMOTED}:
        return str(refresh)
    seconds = as_real(refresh)
    if seconds is None or not 0 < seconds <= SECONDS_MAX:
        raise InvalidValue(
            f"invalid refresh {brief(refresh)}: must be 'never', 'promoted', or a positive number of seconds"
        )
    return float(seconds)
