"""Commands load and import: read vectors from files and from other vector databases."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kedge.bulk import Columns, LoadReport, Source, open_chroma, open_lancedb, open_qdrant
from kedge.bulk.sources import pick
from kedge.cli import database
from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import By, Db, Json
from kedge.cli.terminal import count, emit, one_line, progress_bar, say, table
from kedge.errors import InvalidValue, UnknownName
from kedge.face import LOAD_ROWS, Kedge
from kedge.model.control import Status
from kedge.ports.vectors import Collection

Deployment = Annotated[
    str | None,
    typer.Option("--deployment", metavar="NAME", help="Load inside this deployment; its rollback removes the rows."),
]
Stage = Annotated[bool, typer.Option("--stage", help="Stage the deployment if it does not exist.")]
Agent = Annotated[
    str | None,
    typer.Option("--agent", metavar="NAME", help="Agent that loads. Default: the deployment's name, else loader."),
]
Person = Annotated[
    str | None, typer.Option("--person", metavar="NAME", help="Person who loads; no rollback removes the rows.")
]
BatchRows = Annotated[int, typer.Option("--batch", metavar="ROWS", min=1, help="Rows per commit.")]
Again = Annotated[bool, typer.Option("--again", help="Load rows again that an earlier run has loaded.")]
Ids = Annotated[str | None, typer.Option("--ids", metavar="COLUMN", help='Column of ids. Default: "id".')]
Vector = Annotated[str | None, typer.Option("--vector", metavar="NAME", help="Column of vectors, or named vector.")]
Payload = Annotated[
    list[str] | None,
    typer.Option("--payload", metavar="COLUMN", help="Payload column. Repeatable. Default: all other columns."),
]
Document = Annotated[
    str | None, typer.Option("--document", metavar="NAME", help="Column or field to store as documents.")
]


class Kind(StrEnum):
    """Kinds of database that `kedge import` reads."""

    CHROMA = "chroma"
    LANCEDB = "lancedb"
    QDRANT = "qdrant"


class _Load(msgspec.Struct, frozen=True):
    """Options shared by load and import."""

    deployment: str | None
    agent: str | None
    person: str | None
    batch: int
    again: bool

    def run(self, k: Kedge, collection: str, source: Path | Source, columns: Columns, *, silent: bool) -> LoadReport:
        """Load a source and show a progress bar."""
        with progress_bar(f"loading {one_line(collection, 30)}", silent=silent) as progress:
            return k.load(
                collection,
                source,
                ids=columns.ids,
                vector=columns.vector,
                payload=columns.payload,
                document=columns.document,
                agent=self.agent,
                person=self.person,
                deployment=self.deployment,
                batch=self.batch,
                again=self.again,
                progress=progress,
            )

    def stage(self, k: Kedge, path: Path, by: str | None) -> None:
        """Stage the deployment with an artifact of the loader, so that its rollback removes the rows."""
        if self.deployment is None or self.person is not None:
            raise InvalidValue("--stage needs --deployment and excludes --person")
        if self.deployment in {deployment.name for deployment in k.deployments()}:
            return
        agent = self.agent or self.deployment
        k.deploy(self.deployment, {f"{agent}/source": {"loads": path.name}}, by=by, note=f"loads {path.name}")


@app.command(rich_help_panel=MAINTAIN)
def load(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Collection name.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help=".npy, .parquet, .arrow or .feather.")],
    *,
    ids: Annotated[
        str | None,
        typer.Option("--ids", metavar="COLUMN|FILE", help="Column of ids; for .npy a .txt, .json or .npy file."),
    ] = None,
    vector: Vector = None,
    payload: Payload = None,
    json_payload: Annotated[
        str | None,
        typer.Option(
            "--json-payload", metavar="COLUMN|FILE", help="Column with the payload as JSON; for .npy a JSON-lines file."
        ),
    ] = None,
    document: Document = None,
    deployment: Deployment = None,
    stage: Stage = False,
    agent: Agent = None,
    person: Person = None,
    batch: BatchRows = LOAD_ROWS,
    again: Again = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Load vectors from a file into a collection.

    To resume after an interruption, run the same command again: it skips rows already loaded.
    """
    if payload is not None and json_payload is not None:
        raise InvalidValue("--payload and --json-payload exclude each other; give one of them")
    columns = Columns(ids, vector, json_payload if payload is None else payload, document)
    how = _Load(deployment, agent, person, batch, again)
    with database.for_changing(db) as k:
        if stage:
            how.stage(k, file, by)
        report = how.run(k, collection, file, columns, silent=as_json)
        hidden = _is_staged(k, deployment)
    if as_json:
        emit({"load": report})
        return
    _say_report(report)
    _say_hidden(deployment if hidden else None)


class _Target(msgspec.Struct, frozen=True):
    """Target collection of a source, whether it `exists`, and the load's report (None in a dry run)."""

    source: str
    collection: str
    rows: int
    dim: int | None
    metric: str
    exists: bool
    load: LoadReport | None = None


@app.command("import", rich_help_panel=MAINTAIN)
def import_(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="chroma, lancedb or qdrant.")],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of Chroma or LanceDB, or file of Qdrant points.")
    ],
    *,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", metavar="NAME", help="Import only this source collection. Repeatable."),
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="NAME", help="Target collection. Default: same name as the source.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric", help="Metric of a new collection: cosine, dot or l2. Default: as the source, else cosine."
        ),
    ] = None,
    embedder: Annotated[
        str, typer.Option("--embedder", metavar="KEY", help="Embedder artifact of a new collection.")
    ] = "shared/embedder",
    ids: Ids = None,
    vector: Vector = None,
    payload: Payload = None,
    document: Document = None,
    deployment: Deployment = None,
    stage: Stage = False,
    agent: Agent = None,
    person: Person = None,
    batch: BatchRows = LOAD_ROWS,
    again: Again = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be imported; change nothing.")] = False,
    by: By = None,
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Import the collections of another vector database.

    The source is not changed. To resume after an interruption, run the same command again.
    """
    how = _Load(deployment, agent, person, batch, again)
    columns = Columns(ids, vector, payload, document)
    hidden = False
    with _OPENERS[kind](path, columns, collection) as sources:
        if dry_run:
            targets = _targets_of(sources, _existing(db), into=into, metric=metric)
        else:
            with database.for_creating(db) as k:
                known = {c.name: c for c in k.collections()}
                targets = _targets_of(sources, known, into=into, metric=metric)
                for target in targets:  # all before the first row, so that an error shows at once
                    if not target.exists and target.dim is not None:
                        k.collection(
                            target.collection,
                            dim=target.dim,
                            metric=target.metric,  # type: ignore[arg-type]  # Kedge checks it
                            embedder=embedder,
                        )
                if stage:
                    how.stage(k, path, by)
                targets = [
                    target
                    if target.dim is None
                    else msgspec.structs.replace(
                        target, load=how.run(k, target.collection, source, Columns(), silent=as_json)
                    )
                    for target, source in zip(targets, sources, strict=True)
                ]
                hidden = _is_staged(k, deployment)
    if as_json:
        emit({"imports": targets, "dry_run": dry_run})
    elif dry_run:
        _say_dry(targets)
    else:
        _say_imported(targets, deployment if hidden else None)


# ── opening the source ──


_Opener = Callable[[Path, Columns, Sequence[str] | None], AbstractContextManager[list[Source]]]


def _chroma(path: Path, columns: Columns, wanted: Sequence[str] | None) -> AbstractContextManager[list[Source]]:
    if columns != Columns():
        raise InvalidValue("--ids, --vector, --payload and --document do not apply to Chroma; leave them out")
    return open_chroma(path, wanted)


def _lancedb(path: Path, columns: Columns, wanted: Sequence[str] | None) -> AbstractContextManager[list[Source]]:
    return open_lancedb(path, columns, wanted)


def _qdrant(path: Path, columns: Columns, wanted: Sequence[str] | None) -> AbstractContextManager[list[Source]]:
    for name in wanted or ():
        pick(name, [path.stem], "collection", path.name)
    return open_qdrant(path, columns)


_OPENERS: dict[Kind, _Opener] = {Kind.CHROMA: _chroma, Kind.LANCEDB: _lancedb, Kind.QDRANT: _qdrant}


# ── choosing targets ──


def _existing(db: str | None) -> dict[str, Collection]:
    try:
        with database.for_reading(db) as k:
            return {c.name: c for c in k.collections()}
    except UnknownName:
        return {}  # there is no database yet


def _targets_of(
    sources: Sequence[Source], existing: dict[str, Collection], *, into: str | None, metric: str | None
) -> list[_Target]:
    """Return the target of each source; raise `InvalidValue` if a source does not fit its target."""
    if into is not None and len(sources) > 1:
        names = ", ".join(source.name for source in sources)
        raise InvalidValue(
            f"--into takes one source collection, but there are {len(sources)} ({names}); choose one with --collection"
        )
    return [_target_of(source, existing.get(into or source.name), into or source.name, metric) for source in sources]


def _target_of(source: Source, there: Collection | None, name: str, metric: str | None) -> _Target:
    wanted = metric or source.metric
    if there is not None and wanted not in {None, there.metric}:
        raise InvalidValue(
            f"{source.name!r} uses the metric {wanted}, but the collection {name!r} uses {there.metric}; "
            f"choose another target with --into, or give --metric {there.metric} to accept the metric"
        )
    chosen = there.metric if there is not None else wanted or "cosine"
    return _Target(source.name, name, source.rows, source.dim, chosen, there is not None)


def _is_staged(k: Kedge, deployment: str | None) -> bool:
    return deployment is not None and k.deployment(deployment).status is Status.STAGED


# ── output ──


def _say_report(report: LoadReport) -> None:
    rate = f", {report.rows / report.seconds:,.0f} rows/s" if report.rows and report.seconds else ""
    say(f"{one_line(report.collection)}: {count(report.rows, 'row')} in {report.seconds:.1f} s{rate}", "bold")
    if report.documents:
        say(f"  {count(report.documents, 'document')} stored")
    if report.skipped:
        say(f"  {count(report.skipped, 'row')} skipped: already loaded (use --again to load them again)")
    if report.vectorless:
        say(f"  {count(report.vectorless, 'row')} skipped: no vector", "yellow")


def _say_hidden(deployment: str | None) -> None:
    if deployment is not None:
        say(f"  Hidden until you run: kedge promote {deployment}", "dim")


def _say_imported(targets: Sequence[_Target], hidden: str | None) -> None:
    if not targets:
        say("No collection to import.")
    for target in targets:
        if target.load is None:
            say(f"{one_line(target.source)}: nothing to import: no row has a vector", "yellow")
        else:
            _say_report(target.load)
    if targets:
        _say_hidden(hidden)


def _say_dry(targets: Sequence[_Target]) -> None:
    rows = (
        (
            t.source,
            t.collection,
            f"{t.rows:,}",
            "" if t.dim is None else str(t.dim),
            t.metric,
            "yes" if t.exists else "no",
        )
        for t in targets
    )
    table(("source", "collection", "rows", "dim", "metric", "exists"), rows, right=("rows", "dim"))
    say("Nothing was changed.", "dim")
