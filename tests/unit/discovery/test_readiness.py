"""Readiness of the stores that a scan found: ways back, times, scores, and what to change first."""

from __future__ import annotations

import datetime as dt
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kedge import InvalidValue
from kedge.discovery.capabilities import Capabilities, Capability
from kedge.discovery.readiness.assess import Live, Readiness, assess
from kedge.discovery.readiness.live import look
from kedge.discovery.readiness.observed import Observed, observed
from kedge.discovery.readiness.page import page
from kedge.discovery.readiness.settings import ReadinessSettings, StoreFacts, parse_settings, read_settings
from kedge.discovery.sites import Evidence, Site, SiteClass, StateKind
from kedge.discovery.traces.model import StoreName, Traffic
from kedge.model.readiness import POINTS, Rates, Span, WayBack, overall, predict, restore_span, score

NOW = dt.datetime(2026, 12, 1, tzinfo=dt.UTC).timestamp()
DAY = 86_400.0


def site(
    store: str,
    kind: StateKind = "remote",
    where: SiteClass = "bind",
    line: int = 3,
    target: str = "",
    path: str = "a.py",
) -> Site:
    return Site(path, line, where, store, kind, "main", target=target)


def entry(store: str, capability: Any, **fields: Any) -> Capability:
    given = {
        "id": store, "title": store, "stores": (store,), "capability": capability, "unit": "collection",
        "granularity": "when made", "restore_class": "minutes", "lost": "later writes", "conditions": (),
        "source": "a manual", "checked": dt.date(2026, 11, 1),
    }  # fmt: skip
    return Capability(**(given | fields))


def measure(sites: list[Site], *entries: Capability, **given: Any) -> Readiness:
    settings = given.pop("settings", ReadinessSettings())
    return assess("app", sites, Capabilities(entries), settings, now=NOW, **given)


def test_the_time_of_a_restoration_is_the_sum_of_its_parts() -> None:
    one = Span(1.0, 1.0, 1.0)
    rates = Rates(Span(1, 2, 4), Span(100, 50, 10), Span(20, 10, 5), repoint=Span(3, 5, 7))
    assert restore_span(rates, 1000, 100) == Span(1 + 10 + 5 + 3, 2 + 20 + 10 + 5, 4 + 100 + 20 + 7)
    assert restore_span(msgspec.structs.replace(rates, rows_per_second=None), 1000, 1e9) == Span(14, 27, 111)
    found = predict(Span(1, 2, 3), {"a": Span(5, 6, 90), "b": Span(7, 8, 9), "c": one}, Span(10, 20, 30), one)
    assert found.total == Span(1 + 7 + 10 + 1, 2 + 8 + 20 + 1, 3 + 90 + 30 + 1), "stores are restored side by side"
    assert found.dominating == "b"
    assert predict(one, {}, one, one).dominating is None


@pytest.mark.parametrize("within", [10.0, 100.0, 1000.0])
def test_a_score_never_falls_when_something_gets_better(within: float) -> None:
    def of(way: WayBack = WayBack.BACKUP, seconds: float = 500.0, age: float | None = None, **given: Any) -> int:
        options: dict[str, Any] = {"isolated": "no", "certain": False} | given
        tested_at = None if age is None else NOW - age
        return score(
            way, span=Span(1, seconds, 2 * seconds), within=within, tested_at=tested_at, now=NOW, **options
        ).total

    by_points = sorted(WayBack, key=POINTS.__getitem__)
    found = [of(way) for way in by_points if way not in {WayBack.NONE, WayBack.UNKNOWN}]
    assert found == sorted(found)
    assert of(age=1e9) <= of(age=200 * DAY) < of(age=DAY)
    assert of(seconds=5000) <= of(seconds=60) <= of(seconds=1)
    assert of(isolated="yes") - of(isolated="unknown") == 15
    assert of(WayBack.PITR, certain=True) - of(WayBack.PITR) == 12 + 20
    best = of(WayBack.DEPLOYMENT, seconds=0.001, age=0.0, isolated="yes", certain=True)
    assert best == 100


def test_one_bad_store_shows_in_the_whole() -> None:
    assert overall([]) is None
    assert overall([100, 100, 100, 0]) == 38
    assert overall([90]) == 90


def test_the_worst_store_stands_first_and_what_cannot_be_taken_back_is_named() -> None:
    found = measure(
        [site("qdrant"), site("azure", line=9), site("oddity"), site("qdrant", where="write", line=7)],
        entry("qdrant", "snapshot"), entry("azure", "none", restore_class="none"),
    )  # fmt: skip
    assert [(each.store, each.way) for each in found.stores] == [
        ("azure", WayBack.NONE), ("oddity", WayBack.UNKNOWN), ("qdrant", WayBack.SNAPSHOT),
    ]  # fmt: skip
    assert found.never == ("azure (remote)", "oddity (remote)")
    assert found.prediction.dominating == "qdrant (remote)"
    assert found.with_kedge.total.likely < found.prediction.total.likely
    assert any("kedge.toml" in fix.what and fix.where == "a.py:3" for fix in found.todo), "of the unknown store"
    assert list(found.todo) == sorted(found.todo, key=lambda fix: -fix.points)
    assert str(found) == f"readiness {found.score} of 100: 3 stores, 2 of which cannot be taken back"
    assert json.loads(msgspec.json.encode(found))["score"] == found.score


def test_what_must_be_switched_on_counts_half_until_it_is_stated() -> None:
    needs = entry("postgres", "pitr", needs=("archive_mode = on",))
    doubtful = measure([site("postgres")], needs).stores[0]
    assert (doubtful.versioned, doubtful.conditions) == ("unknown", ("needs archive_mode = on",))
    fix = next(fix for fix in doubtful.fixes if "archive_mode" in fix.what)
    stated = measure([site("postgres")], needs, settings=parse_settings({"stores": {"postgres": {"holds": True}}}))
    assert stated.stores[0].score - doubtful.score == fix.points
    assert (stated.stores[0].versioned, stated.stores[0].conditions) == ("yes", ())


def test_sizes_replace_assumptions() -> None:
    assumed = measure([site("qdrant")], entry("qdrant", "snapshot")).stores[0]
    assert len(assumed.assumed) == 5
    facts = {"bytes": "40 GB", "rows": 8_000_000, "rows_per_second": 4000, "bytes_per_second": 80e6}
    settings = parse_settings({"stores": {"qdrant": facts}})
    stated = measure([site("qdrant")], entry("qdrant", "snapshot", provision_seconds=60.0), settings=settings).stores[0]
    assert stated.assumed == ()
    assert stated.span is not None
    assert stated.span.likely == 60 + 40e9 / 80e6 + 8e6 / 4000 + 120
    documented = entry("pinecone", "backup", restore_rows_per_second=5600.0, restore_seconds_least=600.0)
    span = measure([site("pinecone")], documented).stores[0].span
    assert span is not None
    assert span.likely == pytest.approx(600 + 1e6 / 5600 + 120)


def test_mutable_references_lower_the_score() -> None:
    def whole(pins: int) -> int | None:
        references = [site("hf-model", "provider", "pin", line=n) for n in range(pins)]
        return measure([site("qdrant"), *references], entry("qdrant", "snapshot")).score

    none, three, many = whole(0), whole(3), whole(40)
    assert none is not None
    assert (three, many) == (none - 6, none - 10)
    found = measure([site("hf-model", "provider", "pin", path="b.py")])
    assert (found.score, found.references[0].fix.where) == (None, "b.py:3")
    assert "revision=" in found.references[0].fix.what


def test_sinks_are_no_state_and_a_kind_of_run_time_joins_the_certain_ones() -> None:
    found = measure(
        [site("file:log", "embedded"), site("chroma", "embedded"), site("chroma", "config", "write", 9)],
        entry("chroma", "copy"),
    )
    assert [(each.store, each.kind) for each in found.stores] == [("chroma", "embedded")]
    wild = measure(
        [site("lg-store:*", "config", "write"), site("lg-store:memory", "volatile"), site("lg-store:postgres")]
    )
    assert [each.store for each in wild.stores] == ["lg-store:memory", "lg-store:postgres"]
    alone = measure([site("lg-store:*", "config", "write"), site("lg-saver:postgres")])
    assert [each.store for each in alone.stores] == ["lg-saver:postgres", "lg-store:*"]


def test_what_is_wrong_at_a_site_is_to_be_changed_first() -> None:
    fault = Evidence("no volume is mounted at /data: data are lost", "compose.yml", 7, is_fault=True)
    declared = msgspec.structs.replace(site("qdrant", where="decl", path="compose.yml"), evidence=(fault,))
    found = measure([declared, declared], entry("qdrant", "snapshot"))
    assert [fix.where for fix in found.todo].count("compose.yml:7") == 1
    assert "no volume is mounted" in found.todo[0].what
    ended = measure([site("openai-thread", "provider")], entry("openai-thread", "none", gone=dt.date(2026, 8, 26)))
    assert "the service ended on 2026-08-26" in ended.todo[0].what


def test_memory_of_a_process_is_emptied_by_a_restart() -> None:
    store = measure([site("proc-cache", "volatile")], entry("proc-cache", "none", restore_class="none")).stores[0]
    assert (store.way, store.assumed) == (WayBack.REBUILD, ("a restart empties it",))


@pytest.mark.parametrize(
    ("targets", "told", "isolated"),
    [(["kb"], None, "no"), (["kb-{version}"], None, "unknown"), ([""], None, "unknown"), (["kb"], True, "yes")],
)
def test_whether_deployments_write_apart(targets: list[str], told: bool | None, isolated: str) -> None:
    seen = None if told is None else Observed({"qdrant": told}, {})
    found = measure([site("qdrant", target=t) for t in targets], entry("qdrant", "snapshot"), seen=seen)
    assert found.stores[0].isolated == isolated


def test_a_store_of_kedge_needs_nothing() -> None:
    found = measure([site("kedge", "embedded")], entry("kedge", "fork", by_deployment=True, restore_class="instant"))
    assert (found.stores[0].way, found.stores[0].fixes) == (WayBack.DEPLOYMENT, ())
    assert found.stores[0].score == 40 + 20 + 15 + 15


def test_traces_tell_whether_deployments_write_apart_and_what_is_lost() -> None:
    def call(
        collection: str, deployment: str, access: Any = "write", rate: float = 0.5, family: str = "qdrant"
    ) -> Traffic:
        return Traffic("a", "agent", StoreName(family, "", collection), access, deployment, 1, 0, 1, 0.0, 1.0, rate)

    apart = observed(
        [call("kb-1", "v1"), call("kb-2", "v2"), call("kb-1", "v2", "read"), call("x", "v1", family="redis")]
    )
    assert apart == Observed({"qdrant": True}, {"qdrant": 1.0, "redis": 0.5}, {"qdrant": ("a",), "redis": ("a",)})
    assert observed([call("kb", "v1"), call("kb", "v2")]).separate == {"qdrant": False}
    settings = parse_settings({"point_interval": "1d"})
    able = entry("qdrant", "backup", point_lag_seconds=900.0)
    found = measure([site("qdrant")], able, seen=apart, settings=settings)
    assert [store.lost_writes for store in found.stores if store.store == "qdrant"] == [DAY / 2 + 900]
    assert measure([site("qdrant")], able, seen=apart).stores[-1].lost_writes is None, "no interval is known"


def test_traces_tell_who_writes_and_which_stores_the_code_does_not_show() -> None:
    seen = Observed({}, {}, {"postgres": (), "qdrant": ("planner",), "redis": ("cart",)})
    one = entry("sql", "pitr", stores=("sql", "postgres"))
    found = measure(
        [site("qdrant"), site("qdrant", where="write", line=9), site("sql", "config")],
        one, entry("qdrant", "snapshot"), entry("redis", "copy"), seen=seen, traces="3 spans",
    )  # fmt: skip
    writers = {store.store: store.writers for store in found.stores}
    assert writers == {"qdrant": ("agent planner", "main (a.py:9)"), "redis": ("agent cart",), "sql": ()}
    assert {fix.where for fix in found.todo if "redis" in fix.what} == {""}
    assert "agent planner<br>main (a.py:9)" in page(found)
    assert "traces: 3 spans" in page(found)


def test_what_cannot_be_taken_back_and_what_is_left_out_is_named_on_the_page() -> None:
    lost = entry("acme", "none", restore_class="none")
    found = measure([site("acme"), site("proc-cache", "volatile"), site("file:log", "embedded")], lost,
                    entry("proc-cache", "none", restore_class="none"))  # fmt: skip
    assert (found.never, found.left_out) == (("acme (remote)",), ("file:log",))
    shown = page(found)
    assert "<b>Cannot be taken back:</b> acme (remote)." in shown
    assert "<b>Lost at a restart:</b> proc-cache." in shown
    assert "no agent reads them back: file:log." in shown


def test_settings_of_a_store_that_was_not_found_are_named() -> None:
    settings = parse_settings({"stores": {"qdrnt": {"rows": 3}, "qdrant": {"rows": 3}}})
    found = measure([site("qdrant")], settings=settings, live=[Live("redis", StoreFacts(), None, "seen")])
    assert found.unused == ("qdrnt", "redis")


def test_five_changes_are_shown_at_once_and_all_others_are_folded() -> None:
    shown = page(measure([site("file:cache", "embedded", line=n, path=f"{n}.py") for n in (1, 2)]
                         + [site(f"acme-{n}") for n in range(7)]))  # fmt: skip
    first, folded = shown.partition("<details>")[::2]
    assert first.count("<li>") == 5
    assert folded.partition("</details>")[0].count("<li>") > 2


def test_caches_of_clients_delay_the_agreement() -> None:
    plain = measure([site("langfuse")], entry("langfuse", "snapshot")).prediction.agree
    cached = measure([site("langfuse")], entry("langfuse", "snapshot", cache_seconds=60.0)).prediction.agree
    assert (cached.likely - plain.likely, cached.worst - plain.worst) == (60.0, 120.0)
    stated = measure([site("langfuse")], entry("langfuse", "snapshot"), settings=parse_settings({"agree": "5s"}))
    assert stated.prediction.agree == Span(5.0, 5.0, 5.0)


# ── settings ──


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"slow": "5m"}, "unknown key 'slow' in [readiness]"),
        ({"slo": "soon"}, "invalid slo of readiness"),
        ({"detect": ["1m", "2m"]}, "write one duration"),
        ({"detect": ["3m", "2m", "4m"]}, "must rise"),
        ({"stores": {"qdrant": {"bytes": "many"}}}, "invalid bytes 'many' in [readiness.stores.qdrant]"),
        ({"stores": {"qdrant": {"rows": -1}}}, "invalid rows -1"),
        ({"stores": {"qdrant": {"rows": True}}}, "invalid rows True"),
        ({"stores": {"qdrant": {"tested": "2026-11-30"}}}, "without quotes"),
        ({"stores": {"qdrant": {"isolated": "yes"}}}, "must be true or false"),
        ({"stores": {"qdrant": {"tests": 1}}}, "unknown key 'tests'"),
        ({"stores": []}, "invalid readiness.stores"),
        ([], "must be a table [readiness]"),
    ],
)
def test_wrong_settings_are_refused(table: object, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_settings(table)
    assert said in str(caught.value)


def test_settings_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "kedge.toml"
    file.write_text(
        '[readiness]\nslo = "1h"\ndetect = ["1m", "5m", "1h"]\nrestart = "30s"\n'
        '[readiness.stores."lg-saver:postgres"]\nbytes = "1.5 TB"\ntested = 2026-11-30\nrebuilt_from = "S3"\n'
    )
    found = read_settings(file)
    assert (found.slo, found.detect, found.restart) == (3600.0, Span(60, 300, 3600), Span(30, 30, 30))
    assert found.stores["lg-saver:postgres"] == StoreFacts(bytes=1.5e12, tested=NOW - DAY, rebuilt_from="S3")
    assert read_settings(None) == ReadinessSettings()
    file.write_text("[readiness]\nslo = 5 minutes\n")
    with pytest.raises(InvalidValue, match="not valid TOML"):
        read_settings(file)
    with pytest.raises(InvalidValue, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


# ── page ──


class Page(HTMLParser):
    """Reads a page: tags that are open, and addresses of anything from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_it_shows() -> None:
    found = measure(
        [site("<script>alert(1)</script>", path="<b>.py")], live=[Live("x", StoreFacts(), None, "<i>seen</i>")]
    )
    shown = page(found)
    reader = Page()
    reader.feed(shown)
    assert (reader.open, reader.addresses) == ([], [])
    assert {"script", "i", "link", "img"}.isdisjoint(reader.tags)
    assert "&lt;script&gt;alert(1)" in shown
    assert "&lt;i&gt;seen" in shown
    assert page(measure([])).count("not known") >= 1


# ── looks at running stores ──


@contextmanager
def http(answers: dict[str, Any], seen: list[tuple[str, str, dict[str, str]]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            found = answers.get(self.path)
            body = json.dumps(found).encode()
            self.send_response(302 if found == "away" else 404 if found is None else 200)
            if found == "away":
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_look_at_qdrant() -> None:
    collections = {"result": {"collections": [{"name": "kb"}, {"name": "faq"}]}}
    answers: dict[str, Any] = {
        "/collections": collections,
        "/collections/kb": {"result": {"points_count": 1200}}, "/collections/faq": {"result": {"points_count": None}},
        "/collections/kb/snapshots": {"result": [{"creation_time": "2026-11-30T10:00:00"}]},
        "/collections/faq/snapshots": {"result": []},
    }  # fmt: skip
    seen: list[tuple[str, str, dict[str, str]]] = []
    with http(answers, seen) as url:
        (found,) = look({"qdrant": url}, {"QDRANT_API_KEY": "k\n"}, 5.0)
    assert (found.way, found.facts.rows, found.facts.holds) == (WayBack.SNAPSHOT, 1200.0, False)
    assert "without a snapshot: faq" in found.said
    assert {method for method, _, _ in seen} == {"GET"}
    assert {headers["api-key"] for _, _, headers in seen} == {"k"}


def test_a_look_at_chroma() -> None:
    base = "/api/v2/tenants/default_tenant/databases/default_database/collections"
    with http({"/api/v2/version": "1.3.0", base: [{"id": "c1"}], f"{base}/c1/count": 17}, []) as url:
        (found,) = look({"chroma": url}, {}, 5.0)
    assert (found.way, found.facts.rows) == (WayBack.COPY, 17.0)
    assert "version 1.3.0" in found.said


def test_a_look_follows_no_redirect_and_hides_credentials() -> None:
    seen: list[tuple[str, str, dict[str, str]]] = []
    with http({"/collections": "away"}, seen) as url:
        (found,) = look({"qdrant": url.replace("http://", "http://ann:secret@")}, {}, 5.0)
    assert found.way is None
    assert found.said.startswith("not looked at: ")
    assert "secret" not in found.said
    assert "/elsewhere" not in [path for _, path, _ in seen]


def test_a_name_of_a_collection_is_no_path() -> None:
    seen: list[tuple[str, str, dict[str, str]]] = []
    with http({"/collections": {"result": {"collections": [{"name": "../x?y"}]}}}, seen) as url:
        look({"qdrant": url}, {}, 5.0)
    assert seen[1][1] == "/collections/..%2Fx%3Fy"


def test_an_answer_in_drops_is_given_up_and_no_key_is_shown() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        over = threading.Event()

        def drop() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drop)
        thread.start()
        (found,) = look({"qdrant": f"http://127.0.0.1:{server.getsockname()[1]}"}, {}, 0.4)
        over.set()
        thread.join()
    assert "no whole answer within 0.4 s" in found.said
    (found,) = look({"qdrant": "http://127.0.0.1:1"}, {"QDRANT_API_KEY": "hunter22\nhunter22"}, 5.0)
    assert found.said.startswith("not looked at: ")
    assert "hunter22" not in found.said


@contextmanager
def redis(answers: list[bytes], silent: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    heard: list[bytes] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with closing(connection):
                for answer in answers:
                    heard.append(connection.recv(4096))
                    connection.sendall(answer)
                if silent:
                    connection.recv(4096)
                    connection.recv(4096)  # until the caller gives up

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://:s%20ecret@127.0.0.1:{server.getsockname()[1]}/0", heard
        thread.join(10)
        assert not thread.is_alive()


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())


def test_a_look_at_redis() -> None:
    persistence = "# Persistence\r\nrdb_last_save_time:1796000000\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n"
    with redis([b"+OK\r\n", bulk(persistence), bulk("used_memory:4096\r\n")]) as (url, heard):
        (found,) = look({"redis": url}, {}, 5.0)
    assert (found.way, found.facts.bytes, found.facts.holds) == (WayBack.COPY, 4096.0, True)
    assert "append-only file on" in found.said
    assert b"s ecret" in heard[0]
    with redis([b"-WRONGPASS no\r\n"]) as (url, _):
        (found,) = look({"redis": url}, {}, 5.0)
    assert found.said == "not looked at: ValueError: WRONGPASS no"


def test_a_store_that_does_not_answer_ends_by_its_limit() -> None:
    with redis([], silent=True) as (url, _):
        (found,) = look({"redis": url}, {}, 0.1)
    assert "not looked at: TimeoutError" in found.said


@pytest.mark.parametrize(
    ("urls", "said"), [({"mysql": "x"}, "cannot look at 'mysql'"), ({"oddity": "http://x"}, "must be one of")]
)
def test_a_store_that_cannot_be_looked_at_is_refused(urls: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        look(urls, {}, 1.0)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x", "redis:/x"])
def test_no_other_protocol_is_used(url: str) -> None:
    for store in ("qdrant", "redis"):
        (found,) = look({store: url}, {}, 0.5)
        assert "invalid URL" in found.said


def test_what_was_seen_replaces_what_is_assumed() -> None:
    seen = Live("qdrant", StoreFacts(rows=5.0), WayBack.NONE, "no snapshot")
    able = entry("qdrant", "snapshot", needs=("a snapshot made beforehand",))
    found = measure([site("qdrant")], able, live=[seen]).stores[0]
    assert (found.way, found.span) == (WayBack.NONE, None), "the store could, but nobody made one"
    assert any("snapshot made beforehand" in fix.what for fix in found.fixes)
    failed = Live("qdrant", StoreFacts(), None, "not looked at: refused")
    assert measure([site("qdrant")], entry("qdrant", "snapshot"), live=[failed]).stores[0].way is WayBack.SNAPSHOT
