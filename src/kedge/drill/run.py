"""Running a drill from start to report."""

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from shutil import copytree

from kedge.drill.corpus import DOCUMENTS_DEFAULT
from kedge.drill.database import Databases, Opener
from kedge.drill.evaluation import report_of
from kedge.drill.helpdesk import Say, make_setting, tell
from kedge.drill.results import HelpdeskReport
from kedge.errors import InvalidValue

SESSIONS_DEFAULT = 40
THREADS_DEFAULT = 4


def rehearse_helpdesk(
    open_: Opener,
    *,
    folder: Path | None = None,
    databases: Databases | None = None,
    documents: int | None = DOCUMENTS_DEFAULT,
    sessions: int = SESSIONS_DEFAULT,
    threads: int = THREADS_DEFAULT,
    say: Say = lambda _: None,
) -> HelpdeskReport:
    """Run the helpdesk drill on fresh databases: those given, or in `folder` (new or empty, and kept), or thrown away.

    `documents` is how many docstrings to take (None: all), `sessions` how many a canary day has, `threads` how many
    are served at a time; `say` is told of each stage. `open_` must be importable by name: another process opens the
    database with it.
    """
    began = time.perf_counter()
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise InvalidValue(f"the folder {str(folder)!r} is not empty; the drill wants one of its own")
    say("reading the standard library")
    setting = make_setting(documents=documents, sessions=sessions, threads=threads)
    with nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory(prefix="kedge-drill-") as where:
        story = tell(open_, databases or _InFolder(Path(where)), setting, say)
        return report_of(story, seconds=time.perf_counter() - began)


class _InFolder:
    """Databases of the embedded backend, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def address(self, name: str) -> str:
        """Return what to open a database with."""
        return str(self._folder / name)

    def copy(self, source: str, target: str) -> None:
        """Copy a database, which nobody has open, to a new name."""
        copytree(self._folder / source, self._folder / target)


__all__ = ["SESSIONS_DEFAULT", "THREADS_DEFAULT", "rehearse_helpdesk"]
