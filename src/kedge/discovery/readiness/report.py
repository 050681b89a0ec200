"""Readiness of a repository: scan, traces and looks, assessed as one."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kedge.discovery.capabilities import Capabilities
from kedge.discovery.configuration import own_file
from kedge.discovery.readiness.assess import Readiness, assess
from kedge.discovery.readiness.live import look
from kedge.discovery.readiness.observed import Observed, observed
from kedge.discovery.readiness.settings import read_settings
from kedge.discovery.scanning import scan
from kedge.discovery.traces import read_traces
from kedge.discovery.traces.model import TraceReport
from kedge.errors import InvalidValue
from kedge.model.durations import duration
from kedge.model.readiness import StoreReadiness
from kedge.support.display import count

RATES_FROM_SECONDS = 3600.0  # a shorter recording tells no rate: a burst of one second is no day


def readiness(
    *roots: str | os.PathLike[str],
    traces: Sequence[str | Path] = (),
    config: str | os.PathLike[str] | None = None,
    env: Sequence[str | os.PathLike[str]] = (),
    slo: float | None = None,
    live: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = 5.0,
    own: Sequence[StoreReadiness] = (),
    now: float | None = None,
) -> Readiness:
    """Return which stores of repositories could not be taken back, and how long a rollback takes.

    Paths of several repositories begin with the names of their folders. `traces`: OTLP or Jaeger JSON. `config`: a TOML
    file with a table `[readiness]`, by default `kedge.toml` of the first repository. `env`: files that select stores.
    `slo`: seconds that a rollback may take. `live`: URLs of running stores by family, which are looked at read-only,
    each within `seconds`, with the credentials of `environment`. `own`: the stores of a Kedge database,
    `k.guard.readiness().stores`. Nothing of the repositories is run.
    """
    if not roots:
        raise InvalidValue("no repository was named: name at least one folder")
    folders = [Path(root) for root in roots]
    settings = read_settings(Path(config) if config is not None else own_file(folders[0]))
    if slo is not None:
        settings = msgspec.structs.replace(settings, slo=slo)
    names = [os.path.basename(os.path.realpath(folder)) for folder in folders]  # noqa: PTH119 - a circle of links
    labels = names if len(set(names)) == len(names) else [os.fspath(root) for root in roots]
    scans = [scan(folder, env=env, rules=[] if config is None else [config]) for folder in folders]
    sites = [
        site if len(roots) == 1 else msgspec.structs.replace(site, path=f"{label}/{site.path}")
        for each, label in zip(scans, labels, strict=True)
        for site in each.sites
    ]
    tables = [Path(config)] if config is not None else []
    tables += [file for folder in folders if (file := own_file(folder)) is not None]
    recorded = read_traces(*traces) if traces else None
    found = assess(
        ", ".join(os.fspath(root) for root in roots),
        sites,
        Capabilities.load(*tables),
        settings,
        now=time.time() if now is None else now,
        seen=None if recorded is None else _seen(recorded),
        own=own,
        live=look(live or {}, environment or {}, seconds),
        traces="" if recorded is None else _traces_text(recorded),
    )
    return msgspec.structs.replace(
        found, files=sum(each.files for each in scans), unread=sum(len(each.unparsed) for each in scans)
    )


def _seen(found: TraceReport) -> Observed:
    """Return what was seen; rates only of a window that is long enough to hold for the days after it."""
    seen = observed(found.traffic)
    return seen if found.seconds >= RATES_FROM_SECONDS else msgspec.structs.replace(seen, writes_per_second={})


def _traces_text(found: TraceReport) -> str:
    long = f", {duration(found.seconds, units=1)} long" if found.seconds >= 1 else ""
    bad = f"; {count(found.bad_parts, 'part')} could not be read: `kedge traces` says why" if found.bad_parts else ""
    is_short = found.spans and found.seconds < RATES_FROM_SECONDS
    short = "; too short to tell how many writes a restoration loses" if is_short else ""
    return f"{count(found.spans, 'span')} in {count(found.files, 'file')}{long}{short}{bad}"
