"""Release files: ten lines are enough, every slip is refused, and the digest freezes what decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kedge
from kedge.guard.release import Release, parse_release, read_release

TEN_LINES = """
deployment = "support-v3"
ramp = ["5%", 0.25, 0.5]
min_sessions = 200
soak = "30min"
holdback = 0.1
settle_after = "7d"

[metrics.resolved]
kind = "success"
margin = 0.03
"""
BASE: dict[str, Any] = {"deployment": "v2", "metrics": {"resolved": {"kind": "success"}}}


def parse(**changes: Any) -> Release:
    return parse_release(BASE | changes, "the release").release


def test_ten_lines_of_toml_are_a_release(tmp_path: Path) -> None:
    path = tmp_path / "release.toml"
    path.write_text(TEN_LINES)
    found = read_release(path)
    release = found.release
    assert (release.deployment, release.ramp, release.soak) == ("support-v3", (0.05, 0.25, 0.5), (1800.0,) * 3)
    assert (release.holdback, release.watch, release.settle_after) == (0.1, 86_400.0, 604_800.0)
    assert release.limits["resolved"].margin == 0.03
    assert found.artifacts is None
    assert release.guard.metrics[0].weight == 1.0


def test_what_comes_back_from_the_log_is_the_same_release() -> None:
    release = parse(
        metrics={"resolved": {"kind": "success", "slo": 0.9}, "speed": {"kind": "latency", "timeout": 5}},
        notify={"command": ["notify"], "webhook": "https://example.org/x", "secret_env": "SECRET"},
    )
    again = Release.from_json(release.to_json())
    assert again == release
    assert again.digest == release.digest
    assert release.limits["resolved"].slo == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"alpha": 0.04}, False),
        ({"ramp": [0.05, 0.25, 0.51]}, False),
        ({"metrics": {"resolved": {"kind": "success", "margin": 0.06}}}, False),
        ({"holdback": 0.2}, False),
        ({"skip_gates": ["drill"]}, False),
        ({"notify": {"command": ["notify"]}}, True),
        ({"artifacts": {"support/prompt": "x"}}, True),  # the manifest has a digest of its own
    ],
)
def test_the_digest_is_that_of_what_decides(change: dict[str, Any], *, same: bool) -> None:
    assert (parse(**change).digest == parse().digest) is same


SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"min_session": 5}, "unknown key 'min_session'.*did you mean 'min_sessions'"),
    ({"ramp": [0.5, 0.25]}, "rising"),
    ({"ramp": [0.5, 1.0]}, "above 0 and below 1"),
    ({"ramp": []}, "rising"),
    ({"ramp": ["x%"]}, "invalid weight"),
    ({"min_sessions": 0}, "min_sessions"),
    ({"min_sessions": [10, 20]}, "2 values for 3 stages"),
    ({"soak": "soon"}, "soak"),
    ({"soak": -1}, "soak"),
    ({"alpha": 1.0}, "alpha"),
    ({"hold": 20.0}, "hold=20"),
    ({"degrade": 0.5}, "degrade"),
    ({"approval": "yes"}, "true or false"),
    ({"holdback": 1.0}, "holdback"),
    ({"watch": "2d", "settle_after": "1d"}, "shorter than watch"),
    ({"watch": 0}, "watch"),
    ({"recover_sessions": 0.5}, "recover_sessions"),
    ({"dwell": None}, "dwell"),
    ({"metrics": {}}, "no metrics"),
    ({"metrics": {"resolved": {"kind": "succes"}}}, "did you mean 'success'"),
    ({"metrics": {"resolved": {"kind": "success", "marginn": 0.1}}}, "marginn"),
    ({"metrics": {"resolved": {"kind": "success", "margin": 1.0}}}, "margin"),
    ({"metrics": {"resolved": {"kind": "success", "slo": 1.5}}}, "slo"),
    ({"metrics": {"speed": {"kind": "latency", "timeout": 5, "margin": 0.5}}}, "in ranks"),
    ({"metrics": {"speed": {"kind": "latency", "timeout": 5, "slo": 0.5}}}, "success and failure"),
    ({"metrics": {"leak": {"kind": "event"}}}, "no guardrail"),
    ({"metrics": {"a": {"kind": "success"}, "leak": {"kind": "event", "margin": 0.1}}}, "is an event"),
    ({"metrics": {"a": {"kind": "success", "role": "signal"}}}, "no guardrail"),
    ({"metrics": {"a": {"kind": "success", "weight": 0.8}, "b": {"kind": "success", "weight": 0.8}}}, "weights"),
    ({"gates": {"dril": {}}}, "unknown gate 'dril'"),
    ({"gates": {"drill": {"max_ag": "3d"}}}, "did you mean 'max_age'"),
    ({"metrics": {"resolved": {"kind": "success", "margn": 0.1}}}, "did you mean 'margin'"),
    ({"skip_gates": ["dril"]}, "did you mean 'drill'"),
    ({"drift": {"context.divergance": 0.2}}, "did you mean 'context.divergence'"),
    ({"drift": {"overlap@10.": 0.2}}, "unknown limit"),
    ({"drift": {"context.divergence": 1}}, "above 0 and below 1"),
    ({"skip_gates": "drill"}, "list of names"),
    ({"notify": {"comand": []}}, "did you mean 'command'"),
    ({"notify": {"command": "notify"}}, "must be a list"),
    ({"notify": {"webhook": "http://example.org", "secret_env": "S"}}, "https"),
    ({"notify": {"webhook": "http://localhost.example.org", "secret_env": "S"}}, "https"),
    ({"notify": {"webhook": "https://example.org"}}, "needs one secret"),
    ({"notify": {"secret_env": "S"}}, "no webhook"),
    ({"artifacts": {}}, "is empty"),
    ({"artifacts": []}, "must be a table"),
    ({"artifacts": {"a/b": {"uri": "x", "digst": "y"}}}, "invalid artifact"),
]


@pytest.mark.parametrize(("change", "words"), SLIPS)
def test_every_slip_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(kedge.InvalidValue, match=words):
        parse(**change)


def test_a_file_that_is_no_release_says_why(tmp_path: Path) -> None:
    path = tmp_path / "release.toml"
    with pytest.raises(kedge.InvalidValue, match="cannot be read"):
        read_release(path)
    path.write_text("deployment = ")
    with pytest.raises(kedge.InvalidValue, match="not valid TOML"):
        read_release(path)
    path.write_bytes(b'deployment = "\xff"')
    with pytest.raises(kedge.InvalidValue, match="UTF-8"):
        read_release(path)
    path.write_text("ramp = [0.1]")
    with pytest.raises(kedge.InvalidValue, match="names no deployment"):
        read_release(path)


def test_artifacts_come_from_files_beside_the_release(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Answer briefly.")
    path = tmp_path / "release.toml"
    path.write_text(
        TEN_LINES + '[artifacts]\n"support/prompt" = {file = "prompt.txt"}\n'
        '"support/model" = {uri = "models:/7", digest = "sha256:1"}\n'
    )
    found = read_release(path).artifacts
    assert found == {
        "support/prompt": "Answer briefly.",
        "support/model": kedge.Artifact(uri="models:/7", digest="sha256:1"),
    }
    path.write_text(TEN_LINES + '[artifacts]\n"support/prompt" = {file = "none.txt"}\n')
    with pytest.raises(kedge.InvalidValue, match=r"cannot read none\.txt"):
        read_release(path)
