"""Runner of the helpdesk drill, from its options to its report."""

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from shutil import copytree

from kedge.drill.corpus import DOCUMENTS_DEFAULT
from kedge.drill.database import Databases, Opener
from kedge.drill.evaluation import report_of
from kedge.drill.helpdesk import Say, make_setting, run_scenario
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
    """Run the helpdesk drill on new databases: in `databases`, in `folder` (which is kept), or in a temporary folder.

    `documents` is the number of docstrings (None: all), `sessions` the number of sessions per canary day, `threads` the
    number of sessions served at a time. `say` gets one line per stage. `open_` must be importable by name, because
    another process opens the database with it. Raise `InvalidValue` if `folder` is not empty.
    """
    began = time.perf_counter()
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise InvalidValue(f"the folder {str(folder)!r} is not empty; give a new or empty folder")
    say("reading the standard library")
    setting = make_setting(documents=documents, sessions=sessions, threads=threads)
    with nullcontext(folder) if folder is not None else tempfile.TemporaryDirectory(prefix="kedge-drill-") as where:
        story = run_scenario(open_, databases or InFolder(Path(where)), setting, say)
        return report_of(story, seconds=time.perf_counter() - began)


class InFolder:
    """SQLite databases, each in a subfolder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def address(self, name: str) -> str:
        """Return the URL of a database."""
        return str(self._folder / name)

    def copy(self, source: str, target: str) -> None:
        """Copy a closed database to a new name."""
        copytree(self._folder / source, self._folder / target)


__all__ = ["SESSIONS_DEFAULT", "THREADS_DEFAULT", "InFolder", "rehearse_helpdesk"]
