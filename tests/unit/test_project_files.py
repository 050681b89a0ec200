"""Files of the project: dependencies have lower bounds; versions are pinned by hash, without URLs."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = ("run", "dev", "import-test", "bench", "bench-model", "hosts-test")
PINS = {name: (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8") for name in PINNED}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

RUN = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
DEV, IMPORT_TEST, BENCH, MODEL, HOSTS = (EXTRAS[name] for name in PINNED[1:])


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def pins_of(text: str) -> dict[tuple[str, str], str]:
    """Return every pin's own lines, by (name, version)."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    found = {}
    for block in blocks:
        if block.strip() and not block.startswith("#"):
            pin = re.match(r"(\S+?)==(\S+)", block)
            assert pin, f"not an exact version: {block.splitlines()[0]}"
            found[name_of(pin[1]), pin[2]] = block
    return found


@pytest.mark.parametrize("requirement", sorted({*RUN, *(each for extra in EXTRAS.values() for each in extra)}))
def test_every_dependency_has_a_lower_bound(requirement: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+(,<[0-9.]+)?", requirement)  # of frameworks, an upper one too


@pytest.mark.parametrize(
    ("pins", "requirements"),
    [
        ("run", RUN),
        ("dev", RUN + DEV),
        ("import-test", IMPORT_TEST),
        ("bench", RUN + BENCH),
        ("bench-model", MODEL),
        ("hosts-test", RUN + HOSTS),
    ],
)
def test_every_dependency_is_pinned(pins: str, requirements: list[str]) -> None:
    pinned = {name for name, _ in pins_of(PINS[pins])}
    assert pinned >= {name_of(requirement) for requirement in requirements}


@pytest.mark.parametrize("pins", PINS)
def test_every_pin_has_hashes(pins: str) -> None:
    for pin, block in pins_of(PINS[pins]).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), pin


@pytest.mark.parametrize("pins", PINS)
def test_pins_name_no_place(pins: str) -> None:
    assert not re.findall(r"^.*(?:://|file:|@ |--index|--extra-index|--find-links|^-i ).*$", PINS[pins], re.MULTILINE)


def test_tests_run_on_the_versions_that_users_get() -> None:
    assert pins_of(PINS["run"]).keys() <= pins_of(PINS["dev"]).keys()


def test_peers_are_compared_with_what_users_get() -> None:
    assert pins_of(PINS["run"]).keys() <= pins_of(PINS["bench"]).keys()


def test_imports_are_tested_with_all_that_they_can_need_and_the_same_tools() -> None:
    wanted = {each for extra in ("arrow", "chroma", "lancedb") for each in EXTRAS[extra]}
    assert wanted == set(IMPORT_TEST)
    for others in ("dev", "bench"):  # they may lie in one environment
        pinned = pins_of(PINS[others]).keys()
        known = {name for name, _ in pinned}
        assert {pin for pin in pins_of(PINS["import-test"]) if pin[0] in known} <= pinned


def test_hosts_are_tested_with_the_same_tools() -> None:
    pinned = pins_of(PINS["dev"]).keys()
    known = {name for name, _ in pinned}
    assert {pin for pin in pins_of(PINS["hosts-test"]) if pin[0] in known} <= pinned
