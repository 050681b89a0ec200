"""Assessment of the stores that a scan found: way back, time, score, and what to change first."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kedge.discovery.capabilities import Capabilities, Capability, is_stale
from kedge.discovery.readiness.fixes import Assessed, fixes_of, reference_fix
from kedge.discovery.readiness.observed import Observed
from kedge.discovery.readiness.rates import restoration
from kedge.discovery.readiness.settings import ReadinessSettings, StoreFacts
from kedge.discovery.readiness.writers import writers_of
from kedge.discovery.sites import Site, StateKind
from kedge.discovery.stores import SINKS
from kedge.model.durations import duration
from kedge.model.readiness import (
    NEVER,
    NOTHING,
    VERSIONED,
    Fix,
    Known,
    Prediction,
    Span,
    StoreReadiness,
    WayBack,
    overall,
    predict,
    score,
)
from kedge.support.display import Report, Value, count

DETECT_ASSUMED = Span(60.0, 600.0, 3600.0)
RESTART_ASSUMED = Span(10.0, 60.0, 300.0)
AGREE_ASSUMED = Span(1.0, 60.0, 600.0)
KEDGE_COMMIT = Span(0.0006, 0.0025, 0.0025)  # docs/scale.md, at any size
KEDGE_AGREE = Span(0.12, 0.7, 5.5)  # docs/fleet.md: 1,000 members; the worst is a silent member with a lease of 5 s
REFERENCE_POINTS, REFERENCE_POINTS_MAX = 2, 10
_CACHES = ("proc-cache", "proc-global", "file:cache", "redis", "rabbitmq", "kafka")


class Live(Value, frozen=True):
    """What a look at a running store said of it. `way`: its finest way back now, null where that was not seen."""

    store: str
    facts: StoreFacts
    way: WayBack | None
    said: str


class Reference(Value, frozen=True):
    """A mutable reference outside the deployment: after a rollback, it may name something else."""

    store: str
    path: str
    line: int
    fix: Fix


class Readiness(Report, frozen=True):
    """What a rollback of this system could take back, and how long it would take.

    `at`: seconds since 1970. `score`: of 100, null where no state was found. `within`: the service level in seconds.
    `stores`: the worst first. `never`: those that cannot be taken back. `with_kedge`: the same system with these stores
    in Kedge. `todo`: what to change first. `assumed`: inputs that nobody stated. `live`: what looks at running stores
    showed. `left_out`: stores that no agent reads back. `traces`: what was read of traces, empty without any. `files`:
    how many were read; `unread`: files and folders that were not, wholly or in part. `unused`: stores of the settings
    and of looks that are none of these.
    """

    at: float
    root: str
    within: float
    score: int | None
    stores: tuple[StoreReadiness, ...]
    references: tuple[Reference, ...]
    never: tuple[str, ...]
    prediction: Prediction
    with_kedge: Prediction
    todo: tuple[Fix, ...]
    assumed: tuple[str, ...]
    live: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    traces: str = ""
    files: int = 0
    unread: int = 0
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the verdict."""
        if self.score is None:
            return "no state was found: readiness is not known"
        lost = f", {len(self.never)} of which cannot be taken back" if self.never else ""
        return f"readiness {self.score} of 100: {count(len(self.stores), 'store')}{lost}"


def assess(
    root: str,
    sites: Iterable[Site],
    capabilities: Capabilities,
    settings: ReadinessSettings,
    *,
    now: float,
    seen: Observed | None = None,
    live: Sequence[Live] = (),
    own: Sequence[StoreReadiness] = (),
    traces: str = "",
) -> Readiness:
    """Return the readiness of the stores of these sites, and of those that only traces show.

    `seen`: what traces show of the stores. `live`: what looks at running stores showed. `own`: the stores of a Kedge
    database, as `k.guard.readiness()` has them: they stand for the sites of Kedge. `traces`: what was read of them.
    """
    groups, pins, left_out = _grouped(sites)
    seen = seen or Observed({}, {})
    groups |= {(family, "config"): [] for family in _in_traces_only(groups, seen, capabilities)}
    known = _Known(capabilities, settings, seen, {each.store: each for each in live}, now)
    found = [
        _store(store, kind, group, known)
        for (store, kind), group in groups.items()
        if not own or store.partition(":")[0] != "kedge"
    ]
    stores = tuple(sorted((*found, *own), key=lambda each: (each.score, each.store, each.kind)))
    references = tuple(Reference(pin.store, pin.path, pin.line, reference_fix(pin)) for pin in pins)
    lost = min(REFERENCE_POINTS_MAX, REFERENCE_POINTS * len(references))
    whole = overall(each.score for each in stores)
    stale = sum(_cache_seconds(capabilities, store, kind) for store, kind in groups)
    prediction, assumed = _prediction(stores, settings, stale)
    return Readiness(
        at=now,
        root=root,
        within=settings.slo,
        score=None if whole is None else max(0, whole - lost),
        stores=stores,
        references=references,
        never=tuple(_label(each) for each in stores if each.span is None),
        prediction=prediction,
        with_kedge=_with_kedge(prediction, stores),
        todo=_first((fix for each in stores for fix in each.fixes), (each.fix for each in references)),
        assumed=assumed,
        live=tuple(f"{each.store}: {each.said}" for each in live),
        left_out=left_out,
        traces=traces,
        unused=tuple(sorted({*settings.stores, *known.live} - {store for store, _ in groups})),
    )


def _grouped(
    sites: Iterable[Site],
) -> tuple[dict[tuple[str, StateKind], list[Site]], list[Site], tuple[str, ...]]:
    """Return the sites by store and kind, the mutable references, and the stores that no agent reads back.

    Sites whose store or kind is decided at run time join those that are certain: `lg-store:*` all of that family.
    """
    groups, pins, left_out = defaultdict[tuple[str, StateKind], list[Site]](list), [], set()
    for site in sorted(sites):
        if site.site_class == "pin":
            pins.append(site)
        elif site.store in SINKS:
            left_out.add(site.store)
        else:
            groups[site.store, site.kind].append(site)
    for key in [key for key in groups if key[1] == "config" or key[0].endswith(":*")]:
        certain = [other for other in groups if other != key and _is_of(other, key)]
        for other in certain:
            groups[other] += groups[key]
        if certain:
            del groups[key]
    return dict(groups), pins, tuple(sorted(left_out))


def _in_traces_only(
    groups: Iterable[tuple[str, StateKind]], seen: Observed, capabilities: Capabilities
) -> tuple[str, ...]:
    """Return the families of traces that are none of these stores, by name or by their entry (`sql`, `pgvector`)."""
    stores = {store for store, _ in groups}
    entries = {entry.id for store, kind in groups for entry in capabilities.of(store, kind)}
    return tuple(
        family
        for family in seen.writers
        if family not in stores and not entries & {entry.id for entry in capabilities.of(family, "config")}
    )


def _is_of(key: tuple[str, StateKind], wider: tuple[str, StateKind]) -> bool:
    """Return whether a store is one of those that a wider name or a kind of run time may mean."""
    store = wider[0]
    is_named = key[0] == store or (store.endswith(":*") and key[0].startswith(store[:-1]))
    return is_named and not key[0].endswith(":*") and key[1] != "config"


class _Known(Value, frozen=True):
    """What is known besides the sites, by family of store."""

    capabilities: Capabilities
    settings: ReadinessSettings
    seen: Observed
    live: Mapping[str, Live]
    now: float


def _store(store: str, kind: StateKind, sites: Sequence[Site], known: _Known) -> StoreReadiness:
    settings, live = known.settings, known.live.get(store)
    facts = settings.stores.get(store, StoreFacts())
    if live is not None:
        facts = _joined(facts, live.facts)
    entries = known.capabilities.of(store, kind)
    entry = entries[0] if entries else None
    way, span, assumed = _way(store, kind, entry, facts, live)
    told = facts.isolated if facts.isolated is not None else known.seen.separate.get(store)
    isolated = _isolated(sites, told=told)
    scored = score(
        way,
        isolated=isolated,
        span=span,
        within=settings.slo,
        tested_at=facts.tested,
        now=known.now,
        certain=facts.holds or entry is None or not entry.needs,
    )
    conditions = () if entry is None or facts.holds else (*(f"needs {text}" for text in entry.needs), *entry.conditions)
    if entry is not None and not entry.verified:
        conditions = (*conditions, "unverified: general knowledge, no source was read")
    if entry is not None and is_stale(entry.checked, dt.datetime.fromtimestamp(known.now, dt.UTC).date()):
        conditions = (*conditions, f"its source was read on {entry.checked}, more than 12 months ago")
    return StoreReadiness(
        store,
        kind,
        way,
        unit="unknown" if entry is None else entry.unit,
        lost="unknown" if entry is None else entry.lost,
        versioned=_versioned(entry, holds=facts.holds),
        isolated=isolated,
        span=span,
        score=scored.total,
        rebuilt_from=facts.rebuilt_from,
        tested_at=facts.tested,
        conditions=conditions,
        assumed=assumed if sites else (*assumed, "seen in traces only, not in the code"),
        lost_writes=_lost_writes(store, way, entry, known),
        fixes=fixes_of(Assessed(store, kind, way, entry, scored, facts.holds), sites),
        writers=writers_of(sites, known.seen.writers.get(store, ())),
    )


def _way(
    store: str, kind: StateKind, entry: Capability | None, facts: StoreFacts, live: Live | None
) -> tuple[WayBack, Span | None, tuple[str, ...]]:
    """Return the way back, how long it takes (null: never), and what was assumed."""
    if entry is None:
        return WayBack.UNKNOWN, None, ()
    if entry.by_deployment:
        return WayBack.DEPLOYMENT, KEDGE_COMMIT, ()
    if entry.capability == "none" or entry.restore_class == "none":
        if kind == "volatile":
            return WayBack.REBUILD, NOTHING, ("a restart empties it",)
        if facts.rebuilt_from and facts.rows and facts.rows_per_second:
            seconds = facts.rows / facts.rows_per_second
            return WayBack.REBUILD, Span(seconds, seconds, 2 * seconds), ()
        way = WayBack.HISTORY if entry.capability == "history" else WayBack.NONE
        return way, None, ()
    span, assumed = restoration(store, entry, facts)
    way = WayBack(entry.capability)
    if live is not None and live.way is not None:
        way = live.way
        span = span if way is not WayBack.NONE else NEVER
    return way, None if way is WayBack.NONE else span, assumed


def _lost_writes(store: str, way: WayBack, entry: Capability | None, known: _Known) -> float | None:
    """Return how many writes of others a restoration loses: rate × (interval of points ÷ 2 + age of the newest)."""
    rate, interval = known.seen.writes_per_second.get(store), known.settings.point_interval
    if way is WayBack.DEPLOYMENT:
        return 0.0
    if rate is None or interval is None or entry is None:
        return None
    return rate * (interval / 2 + (entry.point_lag_seconds or 0.0))


def _versioned(entry: Capability | None, *, holds: bool) -> Known:
    keeps = entry is not None and WayBack(entry.capability) in VERSIONED
    if entry is None or (keeps and entry.needs and not holds):
        return "unknown"
    return "yes" if keeps else "no"


def _joined(facts: StoreFacts, seen: StoreFacts) -> StoreFacts:
    """Return what the user stated, and what was seen where the user stated nothing."""
    return StoreFacts(
        bytes=seen.bytes if facts.bytes is None else facts.bytes,
        rows=seen.rows if facts.rows is None else facts.rows,
        tested=facts.tested if facts.tested is not None else seen.tested,
        rebuilt_from=facts.rebuilt_from or seen.rebuilt_from,
        isolated=facts.isolated if facts.isolated is not None else seen.isolated,
        rows_per_second=facts.rows_per_second or seen.rows_per_second,
        bytes_per_second=facts.bytes_per_second or seen.bytes_per_second,
        holds=facts.holds or seen.holds,
    )


def _isolated(sites: Sequence[Site], *, told: bool | None) -> Known:
    """Return whether deployments write apart: as stated, as traces show, or "no" where every name is a constant."""
    if told is not None:
        return "yes" if told else "no"
    if sites and sites[0].store.startswith("kedge"):
        return "yes"
    names = [site.target for site in sites if site.site_class in {"bind", "decl"}]
    return "no" if names and all(names) and not any("{" in name for name in names) else "unknown"


def _cache_seconds(capabilities: Capabilities, store: str, kind: StateKind) -> float:
    """Return how long clients of a store serve what it held before."""
    return next((entry.cache_seconds or 0.0 for entry in capabilities.of(store, kind)), 0.0)


def _prediction(
    stores: Sequence[StoreReadiness], settings: ReadinessSettings, stale: float
) -> tuple[Prediction, tuple[str, ...]]:
    """Return how long a rollback takes, and what was assumed.

    Agents agree when the last client's cache is stale: `stale` is the sum along a chain of all of them, and a client
    may serve one more stale answer while it fetches.
    """
    agree = settings.agree or AGREE_ASSUMED + Span(0.0, stale, 2 * stale)
    assumed = [
        f"{name} {duration(span.likely, units=1)}"
        for name, given, span in (
            ("detection", settings.detect, DETECT_ASSUMED),
            ("restart", settings.restart, RESTART_ASSUMED),
            ("agreement", settings.agree, agree),
        )
        if given is None
    ]
    found = predict(
        settings.detect or DETECT_ASSUMED,
        {_label(each): each.span for each in stores if each.span is not None},
        settings.restart or RESTART_ASSUMED,
        agree,
    )
    return found, tuple(assumed)


def _with_kedge(today: Prediction, stores: Sequence[StoreReadiness]) -> Prediction:
    """Return what the same system takes with its stores in Kedge: one commit, no restoration, no restart."""
    return predict(today.detect, {_label(each): KEDGE_COMMIT for each in stores}, NOTHING, KEDGE_AGREE)


def _label(store: StoreReadiness) -> str:
    return f"{store.store} ({store.kind})"


def _first(fixes: Iterable[Fix], references: Iterable[Fix]) -> tuple[Fix, ...]:
    """Return the fixes, the most points first, each once."""
    unique = {(fix.what, fix.where): fix for fix in (*fixes, *references)}
    return tuple(sorted(unique.values(), key=lambda fix: (-fix.points, fix.where, fix.what)))


__all__ = ["Live", "Readiness", "Reference", "assess"]
