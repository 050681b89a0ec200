"""Protocols of the database that the drill uses: a part of the public API."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from kedge.deployments.lifecycle import Deployment, PromoteReport
from kedge.fleet.member import Member
from kedge.model.choices import DurabilityName, LevelName
from kedge.model.levels import Level
from kedge.ports.vectors import Collection
from kedge.recovery.plan import RollbackPlan
from kedge.recovery.purge import PurgeReport
from kedge.recovery.recognition import RecordedStop
from kedge.recovery.replay import Handler, ReplayInput, ReplayReport
from kedge.recovery.rollback_report import RollbackReport
from kedge.turns.turn import Turn
from kedge.turns.view import Point, ReadView

Progress = Callable[[int, int], None]


class Finding(Protocol):
    """One finding of fsck."""

    @property
    def where(self) -> str:
        """The place."""

    @property
    def message(self) -> str:
        """What is wrong."""


class Checked(Protocol):
    """Result of fsck."""

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""

    @property
    def findings(self) -> Sequence[Finding]:
        """The findings."""


class Ladder(Protocol):
    """The part of `k.ladder` that the drill uses."""

    def stop(
        self, level: LevelName = "off", *, reason: str = "", by: str | None = None, wait: float | None = None
    ) -> RecordedStop:
        """Tighten everything, and wait for the members."""

    def loosen(self, entry: str, *, reason: str = "", by: str | None = None) -> object:
        """Lift an entry."""

    def effective(self, feature: str | None = None) -> Level:
        """Return the level of a feature."""


class Database(Protocol):
    """The part of `kedge.Kedge` that the drill uses. See there for what each call does."""

    @property
    def epoch(self) -> int:
        """The epoch of the control record now."""

    @property
    def url(self) -> str:
        """The URL of the database."""

    @property
    def ladder(self) -> Ladder:
        """Level entries."""

    def set_level(self, feature: str, level: LevelName) -> None:
        """Set the level of a feature."""

    def join(self, name: str | None = None, *, serves: Sequence[str] = ()) -> Member:
        """Make this process a member."""

    def deploy(
        self, name: str, artifacts: Mapping[str, Any], *, canary: float | None = None, note: str = ""
    ) -> Deployment:
        """Stage a deployment."""

    def canary(self, name: str, weight: float) -> Deployment:
        """Show a deployment to a share of new sessions."""

    def promote(self, name: str) -> PromoteReport:
        """Show a deployment to every new session."""

    def settle(self, name: str) -> Deployment:
        """Make a deployment permanent."""

    def plan(self, name: str) -> RollbackPlan:
        """Return what a rollback would do."""

    def rollback(self, name: str, *, reason: str = "") -> RollbackReport:
        """Roll a deployment back."""

    def reinstate(self, name: str, *, reason: str = "") -> object:
        """Undo a rollback."""

    def purge(self, name: str, *, confirm: str | None = None) -> PurgeReport:
        """Erase what a rolled-back deployment caused."""

    def deployments(self) -> list[Deployment]:
        """Return every deployment ever staged."""

    def deployment(self, name: str) -> Deployment:
        """Return one deployment."""

    def turn(
        self,
        session: str | None = None,
        agent: str | None = None,
        *,
        person: str | None = None,
        deployment: str | None = None,
        parent: Mapping[str, str] | None = None,
    ) -> Turn:
        """Begin a turn."""

    def view(self, session: str | None = None, deployment: str | None = None) -> ReadView:
        """Return a read-only view."""

    def at(self, point: Point) -> ReadView:
        """Return a read-only view of the past."""

    def assignment(self, session: str) -> list[str]:
        """Return the deployments that a session sees."""

    def collection(self, name: str, *, dim: int) -> Collection:
        """Declare a collection of vectors."""

    def collections(self) -> list[Collection]:
        """Return the collections."""

    def replay(self, handler: Handler, deployment: str | None = None) -> ReplayReport:
        """Process again the inputs whose results a rollback hid."""

    def replay_pending(self, deployment: str | None = None) -> list[ReplayInput]:
        """Return the inputs that need replay."""

    @property
    def guard(self) -> Any:
        """The guard's calls."""

    def observe(self, *, session: str, metric: str, value: Any) -> object:
        """Store an observation of a session, from outside a turn."""

    def log(self, limit: int = 50) -> Sequence[Any]:
        """Return the control log, newest first."""

    def fsck(self, *, full: bool = False) -> Checked:
        """Check every invariant of the database."""

    def close(self) -> None:
        """Close the database."""

    def __enter__(self) -> Self:
        """Return the database itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""


class Opener(Protocol):
    """Opens a database; `kedge.open` is one. It must be importable by name, for another process to use it."""

    def __call__(self, url: str, *, durability: DurabilityName = "full") -> Database:
        """Open a database."""


class StopOpener(Protocol):
    """Opens a database with a stop file; importable by name, as an `Opener`."""

    def __call__(self, url: str, *, stop_file: str) -> Database:
        """Open a database."""


class Databases(Protocol):
    """New databases for a drill, by name."""

    def address(self, name: str) -> str:
        """Return the URL of a database."""

    def copy(self, source: str, target: str) -> None:
        """Copy a closed database to a new name."""


__all__ = ["Checked", "Database", "Databases", "Finding", "Opener", "Progress", "StopOpener"]
