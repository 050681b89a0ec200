"""Looks at running stores: what they can take back now. Read-only, each within a time limit."""

from __future__ import annotations

import datetime as dt
import json
import queue
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kedge.discovery.readiness.assess import Live
from kedge.discovery.readiness.settings import StoreFacts
from kedge.errors import InvalidValue, Misuse
from kedge.model.readiness import WayBack
from kedge.model.secrets import redact, secrets_of_address
from kedge.support.optional import require

ANSWER_BYTES_MAX = 4 << 20
_KEYS = ("QDRANT_API_KEY", "CHROMA_TOKEN")
Look = Callable[[str, Mapping[str, str], float], Live]


def look(urls: Mapping[str, str], environment: Mapping[str, str], seconds: float) -> list[Live]:
    """Look at each store of these URLs by its family; a look that fails says why, and nothing of the store.

    `environment` holds the credentials: `QDRANT_API_KEY`, `CHROMA_TOKEN`, and those of S3; others are in the URL.
    """
    found = []
    for name, url in urls.items():
        store = name.partition(":")[0]
        if store not in LOOKS:
            raise InvalidValue(f"cannot look at {name!r}: must be one of {', '.join(sorted(LOOKS))}")
        try:
            seen = _in_time(partial(LOOKS[store], url, environment, seconds), seconds)
        except Exception as error:  # noqa: BLE001 - also what a driver raises, or an answer of another shape
            secrets = [*secrets_of_address(url), *(word for key in _KEYS for word in environment.get(key, "").split())]
            reason = redact(f"{type(error).__name__}: {error}", secrets)
            seen = Live(store, StoreFacts(), None, f"not looked at: {reason:.200}")
        found.append(seen)
    return found


def _in_time(call: Callable[[], Live], seconds: float) -> Live:
    """Return what a call returns, or raise `TimeoutError`: limits of each read end no answer that comes in drops."""
    answers: queue.SimpleQueue[Live | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(call())
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            answers.put(error)

    threading.Thread(target=run, name="kedge-look", daemon=True).start()
    try:
        found = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no whole answer within {seconds:g} s") from None
    if isinstance(found, Exception):
        raise found
    return found


def _secret(environment: Mapping[str, str], name: str) -> str:
    """Return a credential without the line end that a file of it may have; no header can hold one."""
    return environment.get(name, "").strip()


# ── HTTP ──


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: credentials go to the host that the user named."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def _get(url: str, path: str, headers: Mapping[str, str], seconds: float) -> Any:
    if urlsplit(url).scheme not in {"http", "https"}:
        raise InvalidValue(f"invalid URL {redact(url)!r}: must begin with http:// or https://")
    request = urllib.request.Request(url.rstrip("/") + path, headers=dict(headers))  # noqa: S310 - checked above
    try:
        with _OPENER.open(request, timeout=seconds) as answer:
            return json.loads(answer.read(ANSWER_BYTES_MAX))
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


def _qdrant(url: str, environment: Mapping[str, str], seconds: float) -> Live:
    key = _secret(environment, "QDRANT_API_KEY")
    headers = {"api-key": key} if key else {}
    names = [each["name"] for each in _get(url, "/collections", headers, seconds)["result"]["collections"]]
    rows, without, newest = 0, [], 0.0
    for name in names:
        place = f"/collections/{quote(name, safe='')}"
        rows += _get(url, place, headers, seconds)["result"].get("points_count") or 0
        snapshots = _get(url, f"{place}/snapshots", headers, seconds)["result"]
        times = [_time(each["creation_time"]) for each in snapshots if each.get("creation_time")]
        newest = max([newest, *times])
        if not snapshots:
            without.append(name)
    said = f"{len(names)} collections, {rows:,} points; "
    said += f"without a snapshot: {', '.join(without[:5])}" if without else "each has a snapshot"
    way = WayBack.NONE if names and len(without) == len(names) else WayBack.SNAPSHOT
    return Live("qdrant", StoreFacts(rows=float(rows), holds=not without), way, said + _age(newest))


def _chroma(url: str, environment: Mapping[str, str], seconds: float) -> Live:
    token = _secret(environment, "CHROMA_TOKEN")
    headers = {"x-chroma-token": token} if token else {}
    version = _get(url, "/api/v2/version", headers, seconds)
    base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    collections = _get(url, base, headers, seconds)
    rows = sum(int(_get(url, f"{base}/{quote(each['id'], safe='')}/count", headers, seconds)) for each in collections)
    said = f"version {version}, {len(collections)} collections, {rows:,} records; a single node has no snapshots"
    return Live("chroma", StoreFacts(rows=float(rows)), WayBack.COPY, said)


# ── PostgreSQL ──


def _postgres(url: str, environment: Mapping[str, str], seconds: float) -> Live:  # noqa: ARG001 - the URL has them
    psycopg = require("psycopg", "postgres")
    limit = f"-c statement_timeout={int(seconds * 1000)} -c default_transaction_read_only=on"
    with psycopg.connect(url, connect_timeout=max(1, int(seconds)), options=limit, autocommit=True) as connection:
        mode, level, size = connection.execute(
            "SELECT current_setting('archive_mode'), current_setting('wal_level'), pg_database_size(current_database())"
        ).fetchone()
        archived, at, failed, backup = connection.execute(
            "SELECT archived_count, extract(epoch FROM last_archived_time)::float8, failed_count, last_archived_wal"
            " FROM pg_stat_archiver"
        ).fetchone()
    archives = mode in {"on", "always"} and archived > 0
    base = (
        "a base backup was archived last" if (backup or "").endswith(".backup") else "age of the base backup: unknown"
    )
    said = f"archive_mode {mode}, wal_level {level}, {size / 1e9:.3g} GB, {failed} failed archivals; {base}"
    way = WayBack.PITR if archives else WayBack.BACKUP
    return Live("postgres", StoreFacts(bytes=float(size)), way, said + _age(at or 0.0))


# ── S3 ──


def _s3(url: str, environment: Mapping[str, str], seconds: float) -> Live:
    try:
        boto3, config_module = import_module("boto3"), import_module("botocore.config")
    except ImportError as error:
        raise Misuse("the Python package boto3 cannot be imported; install it with: pip install boto3") from error
    config = config_module.Config(connect_timeout=seconds, read_timeout=seconds, retries={"max_attempts": 1})
    parts = urlsplit(url)
    client = boto3.client("s3", endpoint_url=environment.get("AWS_ENDPOINT_URL_S3"), config=config)
    status = client.get_bucket_versioning(Bucket=parts.netloc).get("Status", "never switched on")
    way = WayBack.HISTORY if status == "Enabled" else WayBack.NONE
    return Live("s3", StoreFacts(holds=status == "Enabled"), way, f"versioning of {parts.netloc}: {status}")


# ── Redis ──


def _redis(url: str, environment: Mapping[str, str], seconds: float) -> Live:  # noqa: ARG001 - the URL has them
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname:
        raise InvalidValue(f"invalid URL {redact(url)!r}: must be redis://HOST:PORT")
    with socket.create_connection((parts.hostname, parts.port or 6379), seconds) as plain:
        plain.settimeout(seconds)
        secured = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
            if parts.scheme == "rediss"
            else plain
        )
        with secured.makefile("rwb") as stream:
            if parts.password:
                names = [unquote(parts.username)] if parts.username else []
                _command(stream, "AUTH", *names, unquote(parts.password))
            persistence = _fields(_command(stream, "INFO", "persistence"))
            memory = _fields(_command(stream, "INFO", "memory"))
    saved = float(persistence.get("rdb_last_save_time", 0))
    appended = persistence.get("aof_enabled") == "1"
    said = f"append-only file {'on' if appended else 'off'}, last snapshot {persistence.get('rdb_last_bgsave_status')}"
    facts = StoreFacts(bytes=float(memory.get("used_memory", 0)), holds=saved > 0)
    return Live("redis", facts, WayBack.COPY, said + _age(saved))


def _command(stream: Any, *words: str) -> str:
    """Send one command of the protocol RESP2, and return its answer as text."""
    sent = b"".join(b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words)
    stream.write(b"*%d\r\n" % len(words) + sent)
    stream.flush()
    first = stream.readline(1 << 16)
    if first.startswith(b"-"):
        raise ValueError(first[1:].decode("utf-8", "replace").strip())
    if not first.startswith(b"$"):
        return str(first[1:].decode("utf-8", "replace").strip())
    size = int(first[1:])
    if not 0 <= size <= ANSWER_BYTES_MAX:
        raise ValueError(f"an answer of {size} bytes")
    return str(stream.read(size + 2)[:-2].decode("utf-8", "replace"))


def _fields(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


# ── times ──


def _time(text: str) -> float:
    """Return a time such as 2026-11-30T10:00:00 in UTC as seconds since 1970."""
    found = dt.datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp()


def _age(at: float) -> str:
    return "" if at <= 0 else f", the newest {max(0.0, time.time() - at) / 3600:.1f} h ago"


LOOKS: dict[str, Look] = {
    "qdrant": _qdrant,
    "chroma": _chroma,
    "postgres": _postgres,
    "s3": _s3,
    "redis": _redis,
}

__all__ = ["LOOKS", "look"]
