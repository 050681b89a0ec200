"""Backfill of an embedding space: embeds a corpus in small turns, so that it can stop and resume anywhere.

Progress is read from the journal alone. A document is done when its head vector in the view belongs to the view's
embedding space and was made from this version of the document. So a killed run resumes where it stopped, and two
concurrent runs duplicate work at worst.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from kedge.bulk.coverage import CORPORA, DOCUMENTS, PAYLOADS, Corpus
from kedge.bulk.embed_batches import PAGE, Feed, Job, Options, Side, Tally, agent_of
from kedge.bulk.embedder import Caller, Embed
from kedge.bulk.rate_limit import RateLimit
from kedge.errors import IllegalTransition, InvalidValue, RolledBack, UnknownName, nearest
from kedge.model.checks import check_name, check_seconds
from kedge.model.numbers import as_integer
from kedge.model.visibility import View
from kedge.ports.vectors import Collection
from kedge.support.display import Report, count
from kedge.turns.kernel import Kernel, actor
from kedge.turns.scope import scope_of

BATCH_MAX = 100_000
WORKERS_MAX = 256
SETTLING_PASSES = 3  # over concurrent writes of others, without `follow`
_PROBED = 200

Feeds = list[tuple[Corpus, list[Feed]]]


class BackfillReport(Report, frozen=True):
    """What a backfill did. `failed`: ("collection/id", why) of each document that could not be embedded.

    `embedded` and `outside` count the vectors written for readers inside the deployment and, with `dual`, outside it;
    `unchanged` counts the documents that already had their vector.
    """

    deployment: str | None
    collections: tuple[str, ...]
    embedded: int
    outside: int
    unchanged: int
    failed: tuple[tuple[str, str], ...]
    seconds: float

    def __str__(self) -> str:
        """Return the verdict."""
        failed = f"; {count(len(self.failed), 'document')} FAILED" if self.failed else ""
        done = f"{count(self.embedded + self.outside, 'vector')} written, {self.unchanged:,} unchanged{failed}"
        return f"{', '.join(self.collections)}: {done}"

    @property
    def ok(self) -> bool:
        """Whether every document has its vector now."""
        return not self.failed


def backfill(
    kernel: Kernel,
    deployment: str | None,
    embed: Embed | str,
    *,
    collection: str | None,
    dual: Embed | str | None,
    by: str | None,
    rate_limit: RateLimit,
    options: Options,
) -> BackfillReport:
    """Embed the documents that lack a vector in the space of the deployment's embedder, or of the live one."""
    who = actor(by)
    _check(deployment, dual, options)
    collections = _chosen(kernel, deployment, collection)
    names = [found.name for found in collections]
    tally = Tally(options.progress)
    began = time.monotonic()
    operation = kernel.backend.clock.fresh_id()

    job = Job(kernel, options, rate_limit, tally)
    try:
        with ExitStack() as stack:
            sides = [(Side(deployment), stack.enter_context(Caller(embed, options.workers)))]
            if dual is not None:
                outside = stack.enter_context(Caller(dual, options.workers))
                sides.insert(
                    0, (Side(deployment, outside=True), outside)
                )  # first, so that vectors made inside rank above
            _run(job, _feeds(job, collections, sides), deployment)
    finally:
        if tally.embedded or tally.outside:
            detail = {"collections": names, "embedded": tally.embedded, "outside": tally.outside}
            kernel.backend.control.step(operation, "backfill", deployment=deployment, by=who, detail=detail)
    failed = tuple((where, why) for (where, _), why in tally.failed.items())
    seconds = time.monotonic() - began
    return BackfillReport(deployment, tuple(names), tally.embedded, tally.outside, tally.unchanged, failed, seconds)


def _check(deployment: str | None, dual: object, options: Options) -> None:
    if dual is not None and deployment is None:
        raise InvalidValue("dual= embeds for readers outside a deployment; name the deployment")
    for what, number, least, most in (
        ("batch", options.batch, 1, BATCH_MAX),
        ("workers", options.workers, 0, WORKERS_MAX),
    ):
        as_integer(what, number, f"a whole number from {least} to {most:,}", least=least, most=most)
    if options.corpus is not None and options.corpus not in CORPORA:
        raise InvalidValue(f"corpus={options.corpus!r} is unknown; use one of {', '.join(CORPORA)}, or None")
    check_seconds("follow", options.follow)


def _chosen(kernel: Kernel, deployment: str | None, name: str | None) -> list[Collection]:
    """Return the collections to fill: the named one, or those whose embedder the deployment contains."""
    known = kernel.backend.vectors.collections()
    if name is not None:
        check_name("the collection", name)
        found = [collection for collection in known if collection.name == name]
        if not found:
            names = [collection.name for collection in known]
            raise UnknownName(f"no collection is named {name!r}{nearest(name, names)}; `kedge collection` lists them")
        return found
    if deployment is not None:
        recorded = kernel.backend.control.recorded()
        keys = next((set(r.release.artifacts) for r in recorded if r.release.name == deployment), None)
        if keys is None:
            raise UnknownName(
                f"no deployment is named {deployment!r}{nearest(deployment, [r.release.name for r in recorded])}; "
                "`kedge status` lists them"
            )
        known = [collection for collection in known if collection.embedder in keys]
    if not known:
        whose = "there is none" if deployment is None else f"{deployment!r} contains the embedder of none"
        raise InvalidValue(f"no collection to fill: {whose}; name one with collection=")
    if len({collection.embedder for collection in known}) > 1:
        listed = ", ".join(repr(collection.name) for collection in known)
        raise InvalidValue(f"{listed} have different embedders; name one of them with collection=")
    return known


def _corpus(kernel: Kernel, collection: Collection, side: Side, kind: str | None) -> Corpus:
    coverage = kernel.backend.coverage
    if kind is not None:
        return Corpus(collection, kind)
    if not coverage.names_count(DOCUMENTS, collection.name):
        return Corpus(collection, PAYLOADS)
    with side.turn(kernel, agent_of(collection)) as turn:
        names = coverage.names_after("vectors", collection.name, "", _PROBED)
        journal = kernel.backend.journal

        def present(view: View, store: str) -> set[str]:
            heads = journal.heads(view, store, collection.name, names)
            return {name for name, head in heads.items() if not head.deleted}

        vectors, documents = scope_of(turn).read(lambda view: (present(view, "vectors"), present(view, DOCUMENTS)))
    if vectors and not vectors & documents:
        raise InvalidValue(
            f"the vectors of {collection.name!r} have other ids than its documents, such as {min(vectors)!r}; choose "
            f"what to embed: corpus={DOCUMENTS!r} (each whole document) or corpus={PAYLOADS!r} (the text in the "
            "vectors' payloads)"
        )
    return Corpus(collection, DOCUMENTS)


def _feeds(job: Job, collections: Sequence[Collection], sides: Sequence[tuple[Side, Caller]]) -> Feeds:
    found = []
    for collection in collections:
        corpus = _corpus(job.kernel, collection, sides[-1][0], job.options.corpus)
        feeds = [Feed(job, side, corpus, caller) for side, caller in sides]
        if len({feed.space for feed in feeds}) < len(feeds):
            raise InvalidValue(
                f"readers inside and outside the deployment search {collection.name!r} in the same embedding space: "
                "nothing is to be embedded twice; omit dual="
            )
        job.tally.total += job.kernel.backend.coverage.names_count(corpus.store, collection.name) * len(feeds)
        found.append((corpus, feeds))
    return found


def _run(job: Job, feeds: Feeds, deployment: str | None) -> None:
    """Fill all collections; with `follow`, continue until the deployment is settled or rolled back."""
    try:
        _fill(job, feeds, deployment)
    except (RolledBack, IllegalTransition):
        if job.options.follow is None or _is_open(job.kernel, deployment):
            raise


def _fill(job: Job, feeds: Feeds, deployment: str | None) -> None:
    control = job.kernel.backend.control
    since = control.position().seq
    for corpus, of_corpus in feeds:
        for feed in of_corpus:
            feed.sweep(_all_names(job.kernel, corpus), first=True)
    follow = job.options.follow
    for passes in itertools.count(1):
        here = control.position().seq
        lacked = _catch_up(job, feeds, deployment, since)
        since = here
        if follow is None:
            if not lacked or passes == SETTLING_PASSES:
                return
        elif not _is_open(job.kernel, deployment):
            return
        else:
            job.rate_limit.sleep(follow)


def _catch_up(job: Job, feeds: Feeds, deployment: str | None, since: int) -> int:
    """Embed what others have written since a seq; return how many documents lacked a vector."""
    lacked = 0
    for corpus, of_corpus in feeds:
        names = _changed(job.kernel, corpus, deployment, since)
        job.tally.total += len(names) * len(of_corpus)
        lacked += sum(feed.sweep(names) for feed in of_corpus)
    return lacked


def _is_open(kernel: Kernel, deployment: str | None) -> bool:
    """Say whether a deployment is still revocable and not rolled back; always true without a deployment."""
    record = kernel.backend.control.load()
    return deployment is None or any(d.name == deployment and d.number in record.revocable for d in record.deployments)


def _all_names(kernel: Kernel, corpus: Corpus) -> Iterator[str]:
    name = ""
    while page := kernel.backend.coverage.names_after(corpus.store, corpus.collection.name, name, PAGE):
        yield from page
        name = page[-1]


def _changed(kernel: Kernel, corpus: Corpus, deployment: str | None, since: int) -> list[str]:
    """Return the ids that turns outside the deployment have written since a seq."""
    coverage = kernel.backend.coverage
    number = None if deployment is None else kernel.backend.control.number_of(deployment)
    inside = kernel.backend.impact.lineages_with(() if number is None else (number,))
    name = corpus.collection.name
    documents = coverage.names_since(DOCUMENTS, name, since) if corpus.kind == DOCUMENTS else []
    return sorted({*documents, *coverage.names_since("vectors", name, since, inside)})
