"""Log filter for the database driver: replaces its records by one message on stderr."""

import logging

from kedge.cli.terminal import whisper

_DRIVER = logging.getLogger("psycopg")  # its connection pool logs below this name
_IS_AWAY = "error connecting"  # prefix of the record of a failed connection attempt


class _DriverLogHandler(logging.Handler):
    """Reports once that the server does not answer; drops all other records."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._has_reported = False

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one record."""
        if str(record.msg).startswith(_IS_AWAY) and not self._has_reported:
            self._has_reported = True
            whisper("The database does not answer; retrying…", "yellow")


def filter_driver_log() -> None:
    """Keep the database driver's log records off the terminal, in this process."""
    if not any(isinstance(handler, _DriverLogHandler) for handler in _DRIVER.handlers):
        _DRIVER.addHandler(_DriverLogHandler())
