"""Secrets: planted in every configurable field, and looked for in every output and every byte on disk."""

from __future__ import annotations

import logging
import socket
import traceback
from pathlib import Path

import pytest

import kedge
from kedge.turns.scope import scope_of
from tests.acceptance.cli import Run

SECRET = "S3cr3t-hunter2-Token"
URI = {"support/model": kedge.Artifact(uri="models:/support/8", digest="sha256:8")}


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _shell(observe: str) -> str:
    return (
        f"[reconcilers.models]\nartifacts = '*/model'\nobserve = '''{observe}'''\nconverge = 'true'\n"
        "deadline_seconds = 0.1\ntimeout_seconds = 0.1\n"
    )


def _http(url: str, headers: str = "") -> str:
    headers = f"headers = {{ {headers} }}\n" if headers else ""
    return f"[reconcilers.models]\nartifacts = '*/model'\nurl = \"{url}\"\n{headers}deadline_seconds = 0.1\n"


_HOST = f"127.0.0.1:{_closed_port()}"
CONFIGS = {
    "header of a command": _shell(f"curl -sS -H 'Authorization: Bearer {SECRET}' http://{_HOST}/v; exit 3"),
    "trace of a command": _shell(f"set -x; : --token={SECRET} {SECRET}; exit 3"),
    "echo of a command": _shell(f"echo no access for {SECRET} >&2; exit 3"),
    "echo of an environment variable": _shell("echo no access for $MODEL_TOKEN >&2; exit 3"),
    "command that hangs": _shell(f": {SECRET}; sleep 60"),
    "command that prints bytes": _shell(f"printf '{SECRET}\\377'"),
    "address of a command": _shell(f"echo cannot reach redis://default:{SECRET}@cache:6379 >&2; exit 3"),
    "printed by a command": _shell(f"echo https://ann:{SECRET}@models/7"),
    "user of a URL": _http(f"http://ann:{SECRET}@{_HOST}/model"),
    "token as a user": _http(f"http://{SECRET}@{_HOST}/model"),
    "query of a URL": _http(f"http://{_HOST}/model with spaces?token={SECRET}"),
    "header": _http(f"http://{_HOST}/model", f'Authorization = "Bearer {SECRET}"'),
    "header with a line end": _http(f"http://{_HOST}/model", f'Authorization = "Bearer {SECRET}\\n x"'),
    "header of the environment": _http(f"http://{_HOST}/model", "X-Key = '${MODEL_TOKEN}'"),
    # refused before anything is done
    "header that is no template": _http(f"http://{_HOST}/model", f"X-Key = '{SECRET}$'"),
    "URL without a host": _http(f"http:ann:{SECRET}@{_HOST}/model"),
    "URL with a bad port": _http(f"http://ann:{SECRET}@host:abc/model"),
    "command that is no command": _shell("x").replace("observe = '''x'''", f"observe = [['{SECRET}']]"),
    "reconcilers that are no table": f"reconcilers = '{SECRET}'",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_what_reconcilers_are_configured_with_is_nowhere(
    run: Run,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_TOKEN", SECRET)
    (tmp_path / "kedge.toml").write_text(CONFIGS[config], encoding="utf-8")
    with kedge.open(world) as k:
        k.deploy("model-v1", URI)
    shown = ""
    for argv in (
        ("promote", "model-v1", "--yes"), ("reconcile", "--json"), ("rollback", "model-v1", "--yes"),
        ("status", "--json"), ("log", "--json"), ("log", "--secrets"),
    ):  # fmt: skip
        result = run(*argv)
        shown += result.out + result.err
        assert result.code in {0, 1, 2}, result
    assert SECRET not in shown + caplog.text
    assert "No secret found" in shown
    _assert_not_on_disk(world)


def _assert_not_on_disk(world: Path) -> None:
    for path in world.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


ADDRESSES = [
    f"postgresql://ann:{SECRET}@127.0.0.1:1/db",
    f"postgresql://ann:x/{SECRET}@127.0.0.1/db",
    f"postgresql://ann:x@{SECRET}@127.0.0.1/db",
    f"postgresql://ann:x#{SECRET}@127.0.0.1/db",
    f"postgresql://ann:{SECRET}@127.0.0.1:abc/db",
    f"postgresql://ann:{SECRET}%zz@127.0.0.1/db",
    f"postgresql://ann:{SECRET}",
    f"postgresql://ann:[{SECRET}@127.0.0.1/db?password={SECRET}",
    f"postgresql://ann@127.0.0.1:1/db?password={SECRET}",
    f"postgresql://ann@127.0.0.1:1/db?passwort={SECRET}",
    f"postgresql://ann@127.0.0.1:1/db?pass%77ord={SECRET}",
    f"postgresql:/ann:{SECRET}@127.0.0.1/db",
    f"postgresql+psycopg://ann:{SECRET}@127.0.0.1/db",
    f"POSTGRESQL://ann:{SECRET}@127.0.0.1/db",
    f"mysql://ann:{SECRET}@127.0.0.1/db",
    f"sqlite://ann:{SECRET}@127.0.0.1/db",
    f"host=127.0.0.1 password={SECRET} dbname=db",
    f"dbname=db host=127.0.0.1 password='{SECRET}'",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_never_shown_with_its_password(
    run_nowhere: Run, world: Path, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("kedge.backends.postgres.database.RETRY_SECONDS", 0.1)
    shown = ""
    for argv in (
        ("status", "--db", address), ("status", "--db", address, "--json"), ("rollback", "x", "--yes", "--db", address),
        ("deploy", "x", "-a", "a/b=c", "--db", address), ("status", address),
        ("diff", "--with", address, "--db", world), ("migrate-store", world, address, "--yes"),
        ("migrate-store", address, "new"),
    ):  # fmt: skip
        monkeypatch.setattr("sys.argv", ["kedge", *map(str, argv)])
        result = run_nowhere(*map(str, argv))
        shown += result.out + result.err
        assert result.code in {2, 4}, result
    monkeypatch.setenv("KEDGE_DB", address)
    shown += str(run_nowhere("log"))
    with pytest.raises(kedge.KedgeError) as caught:
        kedge.open(address)
    shown += "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown + caplog.text
    assert not Path(address).exists()


def test_a_server_for_drills_is_never_shown_with_its_password(run_nowhere: Run) -> None:
    for address in (f"mysql://ann:{SECRET}@127.0.0.1/db", f"postgresql://ann:x@{SECRET}@127.0.0.1/db"):
        result = run_nowhere("drill", "--server", address)
        assert result.code == 2
        assert SECRET not in result.out + result.err


@pytest.mark.parametrize(
    "uri",
    [
        f"https://ann:{SECRET}@models/7", f"https://{SECRET}@models/7", f"s3://bucket/7?X-Amz-Signature={SECRET}",
        f"https://models/7?access_token={SECRET}",
    ],
)  # fmt: skip
def test_a_manifest_with_credentials_is_refused(run: Run, world: Path, tmp_path: Path, uri: str) -> None:
    manifest = tmp_path / "v9.toml"
    manifest.write_text(f'name = "v9"\n[artifacts]\n"a/model" = {{ uri = "{uri}", digest = "sha256:1" }}\n')
    result = run("deploy", str(manifest))
    assert result.code == 2
    assert "leave it out" in " ".join(result.err.split())
    with kedge.open(world) as k, pytest.raises(kedge.InvalidValue, match="stored forever") as caught:
        k.deploy("v9", {"a/model": kedge.Artifact(uri=uri, digest="sha256:1")})
    assert SECRET not in result.out + result.err + str(caught.value)
    _assert_not_on_disk(world)


def test_an_older_log_is_searched_for_secrets(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    clean = run("log", "--secrets")
    assert clean.code == 0
    assert clean.out.startswith("No secret found by pattern in ")
    why = f"CommandFailed: ['/bin/sh', '-c', 'curl -u ann:{SECRET} https://models'] exited with 22"
    with kedge.open(world) as k:
        control = scope_of(k.view()).backend.control
        detail = {"outcomes": [{"name": "models", "key": "support/model", "why": why}]}
        control.step("op-1", "reconcile", by="ann", detail=detail)
        control.step(
            "op-2", "reconcile", by="ann", detail={"outcomes": [{"name": "m", "key": "k", "why": "timed out"}]}
        )
    found = run("log", "--secrets")
    assert found.code == 1
    assert "reconcile models/support/model" in found.out
    assert "a command line, a password of curl" in found.out
    assert "outcomes[0].why" in found.out
    assert "rotate" in found.out
    assert SECRET not in found.out
    (one,) = run("log", "--secrets", "--json").document["secrets"]
    assert one["kinds"] == ["a command line", "a password of curl"]
    assert one["field"] == "outcomes[0].why"
