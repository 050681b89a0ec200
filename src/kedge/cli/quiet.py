"""What libraries log: a person who types a command is told in its own words, once, and of nothing else."""

import logging

from kedge.cli.terminal import whisper

_DRIVER = logging.getLogger("psycopg")  # its pool logs below
_IS_AWAY = "error connecting"  # how the message of a try to connect that failed begins


class _OurWords(logging.Handler):
    """Says once that the server is away; drops all else, which would go to stderr."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._has_told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        if str(record.msg).startswith(_IS_AWAY) and not self._has_told:
            self._has_told = True
            whisper("The database does not answer; trying again…", "yellow")


def quieten() -> None:
    """Keep what the database's driver logs from the terminal, in this process."""
    if not any(isinstance(handler, _OurWords) for handler in _DRIVER.handlers):
        _DRIVER.addHandler(_OurWords())
